/// The content of a message that does not lie in one piece in the received bytes: because its frames came in several
/// reads, because another channel's came between, or because its body has several frames.
struct ContentAssembly: Sendable {
    enum Phase: Sendable {
        case idle
        case awaitingHeader
        case awaitingBody(remaining: Int)
    }

    enum Step {
        case needsMore
        /// Take it from `takeBytes`.
        case complete(BasicPublish, properties: Range<Int>, body: Range<Int>)
    }

    private(set) var phase = Phase.idle
    private var publish: BasicPublish?
    private var propertiesLength = 0
    private var prefixLength = 0
    /// Arguments of the method, properties, body.
    private var bytes: [UInt8] = []

    /// Storage asked for at once, whatever the header announces: a client must send before it is believed.
    private static let initialReservation = 65_536

    var isIdle: Bool {
        if case .idle = phase { true } else { false }
    }

    /// basic.publish arrived; its positions count from the first of `arguments`.
    mutating func begin(_ publish: BasicPublish, arguments: UnsafeRawBufferPointer) {
        self.publish = publish
        bytes = Array(arguments)
        phase = .awaitingHeader
    }

    /// The next frame of the channel arrived.
    mutating func received(
        _ frame: Frame,
        payload: UnsafeRawBufferPointer,
        limits: AMQPLimits
    ) throws(AMQPError) -> Step {
        switch phase {
        case .idle: throw AMQPError(.unexpectedFrame, "expected method frame, got non method frame instead")
        case .awaitingHeader: return try receivedHeader(frame, payload, limits)
        case .awaitingBody(let remaining): return try receivedBody(frame, payload, remaining: remaining)
        }
    }

    private mutating func receivedHeader(
        _ frame: Frame,
        _ payload: UnsafeRawBufferPointer,
        _ limits: AMQPLimits
    ) throws(AMQPError) -> Step {
        guard frame.type == FrameType.header.rawValue else {
            throw Self.unexpected("expected content header for class 60, got non content header frame instead")
        }
        guard let header = ContentHeader(0..<payload.count, of: payload) else {
            throw .frame(frame.type, payload, "unknown_frame")
        }
        try Self.judge(header, payload, limits)
        prefixLength = bytes.count
        propertiesLength = header.properties.count
        bytes.reserveCapacity(
            bytes.count + propertiesLength + min(Int(header.bodySize), Self.initialReservation)
        )
        bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: payload[header.properties]))
        guard header.bodySize > 0 else { return complete() }
        phase = .awaitingBody(remaining: Int(header.bodySize))
        return .needsMore
    }

    /// Holds a content header against what is accepted.
    @inline(__always)
    static func judge(
        _ header: ContentHeader,
        _ bytes: UnsafeRawBufferPointer,
        _ limits: AMQPLimits
    ) throws(AMQPError) {
        guard header.classID == MethodID.basicPublish.classID else {
            throw unexpected(
                "expected content header for class 60, got one for class \(header.classID) instead"
            )
        }
        guard header.bodySize <= AMQPLimits.absoluteMessageSize else {
            throw AMQPError(
                .frameError,
                "content body size \(header.bodySize) exceeds maximum allowed size \(AMQPLimits.absoluteMessageSize)",
                method: .basicPublish
            )
        }
        guard header.bodySize <= limits.maximumMessageSize else {
            throw AMQPError(
                .preconditionFailed,
                "message size \(header.bodySize) is larger than configured max size \(limits.maximumMessageSize)",
                method: .basicPublish
            )
        }
        do throws(WireError) {
            try PropertiesView.validate(
                UnsafeRawBufferPointer(rebasing: bytes[header.properties]),
                depth: limits.maximumTableDepth
            )
        } catch {
            throw AMQPError(properties: error, of: .basicPublish)
        }
    }

    private mutating func receivedBody(
        _ frame: Frame,
        _ payload: UnsafeRawBufferPointer,
        remaining: Int
    ) throws(AMQPError) -> Step {
        guard frame.type == FrameType.body.rawValue else {
            throw Self.unexpected("expected content body, got non content body frame instead")
        }
        guard payload.count <= remaining else {
            throw AMQPError(
                .frameError,
                "content body frame exceeds remaining content size",
                method: .basicPublish
            )
        }
        bytes.append(contentsOf: payload)
        guard payload.count == remaining else {
            phase = .awaitingBody(remaining: remaining - payload.count)
            return .needsMore
        }
        return complete()
    }

    private mutating func complete() -> Step {
        phase = .idle
        guard let publish else { return .needsMore }
        let body = prefixLength + propertiesLength
        return .complete(publish, properties: prefixLength..<body, body: body..<bytes.count)
    }

    /// The bytes of the content that is complete.
    mutating func takeBytes() -> [UInt8] {
        defer { bytes = [] }
        return bytes
    }

    /// What it costs.
    var reservedBytes: Int { bytes.capacity }

    mutating func abandon() { self = ContentAssembly() }

    private static func unexpected(_ explanation: String) -> AMQPError {
        AMQPError(.unexpectedFrame, explanation, method: .basicPublish)
    }
}
