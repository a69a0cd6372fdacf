internal import MessageModel
internal import NativeProtocol

/// How a consumer ends its work on messages that are leased to it.
public enum Settlement: Sendable, Hashable {
    /// Done: never delivered again.
    case accept
    /// To be delivered again, in its original place of the order.
    /// - Parameters:
    ///   - after: not before that time has passed; nil for what the subscription's back-off says.
    ///   - countsAttempt: whether this delivery counts towards the limit of attempts.
    case release(after: Duration? = nil, countsAttempt: Bool = true)
    /// To the dead-letter topic with a reason; dropped where there is none.
    case reject(reason: String)
    /// The lease ends so long from now.
    case extend(by: Duration)

    var wire: WireSettlement {
        switch self {
        case .accept: .accept
        case .release(let delay, let countsAttempt):
            .release(delay: delay?.wholeMicroseconds, countsAttempt: countsAttempt)
        case .reject(let reason):
            .reject(reason: String(decoding: Array(reason.utf8).prefix(NativeLimits.reasonBytes / 2), as: UTF8.self))
        case .extend(let duration): .extend(by: duration.wholeMicroseconds)
        }
    }

    /// Whether the message is out of the consumer's hands.
    var isFinal: Bool {
        if case .extend = self { return false }
        return true
    }
}

/// Names one delivery of one message. Its text can be stored, and the delivery settled later and from another
/// connection, see `SluiceClient.settle`: for leases that outlive the connection.
public struct DeliveryReceipt: Sendable, Hashable, LosslessStringConvertible {
    let wire: WireReceipt

    init(_ wire: WireReceipt) { self.wire = wire }

    public init?(_ description: String) {
        let parts = description.split(separator: "-", omittingEmptySubsequences: false)
        let numbers = parts.compactMap { UInt64($0, radix: 16) }
        guard parts.count == 7, numbers.count == 7, let subscription = UInt32(exactly: numbers[0]),
            let lane = UInt16(exactly: numbers[1])
        else { return nil }
        wire = WireReceipt(
            subscription: subscription,
            lane: lane,
            sequence: numbers[2],
            generation: numbers[3],
            first: numbers[4],
            last: numbers[5],
            signature: numbers[6]
        )
    }

    public var description: String {
        let numbers = [
            UInt64(wire.subscription), UInt64(wire.lane), wire.sequence, wire.generation, wire.first, wire.last,
            wire.signature,
        ]
        return numbers.map { String($0, radix: 16) }.joined(separator: "-")
    }
}

extension SluiceClient {
    /// Settles deliveries by their receipts, from whichever connection they came by. Waits until that is durable.
    /// - Returns: for each receipt nil where it counted; `leaseLost` where the message was delivered again or is done,
    ///   `denied` where the server did not give it out.
    @discardableResult
    public func settle(
        _ receipts: [DeliveryReceipt],
        _ settlement: Settlement = .accept
    ) async throws(SluiceClientError) -> [SluiceClientError?] {
        let wire = receipts.map(\.wire)
        guard wire.count <= UInt16.max else {
            throw SluiceClientError(.tooLarge, "at most \(UInt16.max) receipts are settled at a time")
        }
        let statuses = try await core.call(.settleReceipts) { buffer in
            SettleReceiptsBody(settlement: settlement.wire, receipts: wire).write(to: &buffer)
        } decode: {
            SettleResults.read(&$0)
        }
        return statuses.map(SluiceClientError.init(status:))
    }
}

extension SluiceClientError {
    /// Nil for the status of success.
    init?(status: UInt16) {
        guard let code = ResponseStatus(status: status).code else { return nil }
        self.init(SluiceError(code, code.rendering.title))
    }
}
