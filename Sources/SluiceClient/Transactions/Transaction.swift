internal import MessageModel
internal import NIOCore
internal import NativeProtocol

/// What to do with a transaction that is open for too long.
public enum TransactionResolution: Sendable {
    case commit
    case rollBack
    /// Not known yet: it is asked again, and rolled back in the end.
    case unknown
}

/// An open transaction's number, for those who keep it beside their own work, to resolve it later.
public struct TransactionID: Sendable, Hashable, LosslessStringConvertible {
    let rawValue: UInt64

    init(rawValue: UInt64) { self.rawValue = rawValue }

    public init?(_ description: String) {
        guard let number = UInt64(description, radix: 16) else { return nil }
        rawValue = number
    }

    public var description: String { String(rawValue, radix: 16) }
}

/// How a transaction is begun.
public struct TransactionOptions: Sendable {
    /// Names those who can say what became of it, see `SluiceClient.resolveTransactions`. Empty: nobody is asked, and
    /// it is rolled back when it is open for too long.
    public var owner = ""
    /// How long it may be open before its owner is asked.
    public var checkAfter: Duration = .seconds(60)
    /// How often the owner is asked before it is rolled back.
    public var checks: UInt32 = 15

    public init() {}
}

/// Messages to any topics and settlements of leased messages that take effect together, or not at all.
///
/// Nobody sees the messages before the commit. Not for several tasks at a time.
public final class Transaction: Sendable {
    public let id: TransactionID
    private let core: ClientCore

    init(core: ClientCore, id: TransactionID) {
        self.core = core
        self.id = id
    }

    /// Stores a message within the transaction.
    /// - Parameter address: a topic's name, or a name that a topic holds.
    public func send(_ message: OutgoingMessage, to address: String) async throws(SluiceClientError) {
        let core = core
        let transaction = id.rawValue
        let error: SluiceClientError? = await withCheckedContinuation { continuation in
            core.eventLoop.execute {
                core.transactionSender(to: address).send(message, transaction: transaction) {
                    continuation.resume(returning: $0)
                }
            }
        }
        if let error { throw error }
    }

    /// A leased message is done with the commit.
    /// - Throws: `leaseLost` where it was delivered again meanwhile.
    public func accept(_ message: LeasedMessage) async throws(SluiceClientError) { try await accept([message.receipt]) }

    /// Leased messages are done with the commit.
    /// - Throws: `leaseLost` where one of them was delivered again meanwhile.
    public func accept(_ receipts: [DeliveryReceipt]) async throws(SluiceClientError) {
        let body = SettleInTransactionBody(transaction: id.rawValue, receipts: receipts.map(\.wire))
        let statuses = try await core.call(.settleInTransaction) { buffer in
            body.write(to: &buffer)
        } decode: {
            SettleResults.read(&$0)
        }
        for status in statuses {
            if let error = SluiceClientError(status: status) { throw error }
        }
    }

    /// Everything takes effect.
    public func commit() async throws(SluiceClientError) {
        try await SluiceClient.resolve(core, .commitTransaction, id)
    }

    /// Nothing takes effect. The leases of messages that it would have settled go on.
    public func rollBack() async throws(SluiceClientError) {
        try await SluiceClient.resolve(core, .rollBackTransaction, id)
    }
}

extension SluiceClient {
    /// Begins a transaction that its caller commits or rolls back.
    public func beginTransaction(
        _ options: TransactionOptions = TransactionOptions()
    ) async throws(SluiceClientError) -> Transaction {
        let body = BeginTransactionBody(
            checkAfterMicroseconds: options.checkAfter.wholeMicroseconds,
            checks: options.checks,
            owner: options.owner
        )
        let id = try await core.call(.beginTransaction, isRepeatable: false) {
            body.write(to: &$0)
        } decode: {
            $0.u64()
        }
        return Transaction(core: core, id: TransactionID(rawValue: id))
    }

    /// Runs `body` in a transaction: commits when it returns, rolls back when it throws.
    ///
    /// ```swift
    /// for try await order in orders.messages {
    ///     try await client.transaction { tx in
    ///         try await tx.send(OutgoingMessage(invoice(order)), to: "invoices")
    ///         try await tx.accept(order)
    ///     }
    /// }
    /// ```
    /// - Throws: what `body` throws, and what the commit fails with: with `indeterminate` it may have happened.
    public func transaction<Value: Sendable>(
        _ options: TransactionOptions = TransactionOptions(),
        _ body: (Transaction) async throws -> Value
    ) async throws -> Value {
        let transaction = try await beginTransaction(options)
        let value: Value
        do {
            value = try await body(transaction)
        } catch {
            // Where this fails, the server does it when the transaction is open for too long.
            try? await transaction.rollBack()
            throw error
        }
        try await transaction.commit()
        return value
    }

    /// Commits or rolls back a transaction by its number, from whichever client it was begun.
    public func resolveTransaction(_ id: TransactionID, commit: Bool) async throws(SluiceClientError) {
        try await Self.resolve(core, commit ? .commitTransaction : .rollBackTransaction, id)
    }

    fileprivate static func resolve(
        _ core: ClientCore,
        _ opcode: Opcode,
        _ id: TransactionID
    ) async throws(SluiceClientError) {
        try await core.call(opcode, isRepeatable: false) {
            $0.writeU64(id.rawValue)
        } decode: { _ in
            ()
        }
    }

    /// Answers for the transactions of an owner that are open for too long, for as long as this client lives.
    ///
    /// ```swift
    /// try await client.resolveTransactions(of: "shop") { id in
    ///     try? await database.isPaid(transaction: id) ? .commit : .rollBack
    /// }
    /// ```
    /// - Parameter onCheck: called once for each question; nil and `unknown` mean: ask again later.
    public func resolveTransactions(
        of owner: String,
        onCheck: @escaping @Sendable (TransactionID) async -> TransactionResolution?
    ) async throws(SluiceClientError) {
        let core = core
        let ask: @Sendable (UInt64) -> Void = { number in
            Task {
                let id = TransactionID(rawValue: number)
                switch await onCheck(id) {
                case .commit: try? await Self.resolve(core, .commitTransaction, id)
                case .rollBack: try? await Self.resolve(core, .rollBackTransaction, id)
                case .unknown, nil: break
                }
            }
        }
        let error: SluiceClientError? = await withCheckedContinuation { continuation in
            core.eventLoop.execute {
                core.adopt(owner: owner, ask) { continuation.resume(returning: $0) }
            }
        }
        if let error { throw error }
    }
}
