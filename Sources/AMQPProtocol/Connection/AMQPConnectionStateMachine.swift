package import NIOCore

/// The server's side of one AMQP 0-9-1 connection in the dialect of RabbitMQ, from its opening to its end: what arrives
/// goes in, replies are appended to the caller's output, and what is beyond the protocol comes back as an action.
///
/// The owner tells with `noteArrival` that bytes have come, shows the unread ones to `receive` again and again, carries
/// out each action, and writes the output once per tick. For many frames in one read, borrow machine and output once
/// (`inout`), not for each frame out of a class. Times are milliseconds of any clock that does not go back.
package struct AMQPConnectionStateMachine: Sendable {
    enum Phase: Sendable, Hashable {
        case awaitingHeader
        /// connection.start was sent.
        case starting
        /// The SASL response is with the owner.
        case authenticating
        /// connection.secure was sent.
        case securing
        /// connection.tune was sent.
        case tuning
        /// connection.tune-ok was received.
        case opening
        /// The virtual host is with the owner.
        case openingVirtualHost
        case running
        /// connection.close arrived, and the owner has not finished.
        case closedByClient(CloseMethod)
        /// connection.close was sent, and close-ok is awaited.
        case closedByServer(AMQPError)
        /// What arrives is not looked at any more; the client gets time to read what it was told.
        case draining(ConnectionEnd)
        case ended
    }

    let options: AMQPServerOptions
    var phase = Phase.awaitingHeader
    var framer: FrameFramer
    var channels = ChannelSlots()
    var environment: ChannelEnvironment
    var mechanism = SASLMechanism.plain
    /// What connection.start-ok said about the client.
    package internal(set) var clientProperties = FieldTable()
    package internal(set) var clientCapabilities = ClientCapabilities()
    package internal(set) var tuning: ConnectionTuning
    var isUpdatingSecret = false
    /// The client was told that it is blocked.
    package internal(set) var isBlocked = false
    /// The owner does not read: nothing can arrive, and silence means nothing.
    var isReadingPaused = false
    let openedMilliseconds: Int64
    /// The latest time that was passed in.
    var clockMilliseconds: Int64
    var lastArrivalMilliseconds: Int64
    var lastWriteMilliseconds: Int64
    /// When a closing connection is given up.
    var endMilliseconds: Int64 = 0

    /// - Parameters:
    ///   - randomness: 128 random bits of its own, for the names the server gives.
    ///   - nowMilliseconds: when the connection was opened.
    package init(options: AMQPServerOptions, randomness: (UInt64, UInt64), nowMilliseconds: Int64) {
        self.options = options
        framer = FrameFramer(frameMaximum: options.limits.initialFrameMaximum)
        environment = ChannelEnvironment(limits: options.limits, names: NameGenerator(randomness: randomness))
        tuning = ConnectionTuning(
            channelMaximum: options.limits.channelMaximum,
            frameMaximum: options.limits.initialFrameMaximum,
            heartbeatSeconds: 0
        )
        openedMilliseconds = nowMilliseconds
        clockMilliseconds = nowMilliseconds
        lastArrivalMilliseconds = nowMilliseconds
        lastWriteMilliseconds = nowMilliseconds
    }

    package var isRunning: Bool { phase == .running }
    package var hasEnded: Bool { phase == .ended }
    package var virtualHost: ShortString { environment.virtualHost }
    /// Numbers of the channels that are open or closing.
    package var channelNumbers: [UInt16] { channels.numbers }
    package var channelCount: Int { channels.count }

    /// What the client calls the connection; nil when it does not.
    package var clientProvidedName: ShortString? {
        clientProperties["connection_name"]?.stringBytes.map { ShortString($0) }
    }

    /// The deliveries that the last action is about: to be read before the next step.
    package var settled: [SettledDelivery] { environment.settled }

    /// The content of the last message whose `isAssembled` is true; once.
    package mutating func takeAssembledContent() -> [UInt8] {
        defer { environment.assembled = [] }
        return environment.assembled
    }

    /// A channel, to answer what its action asked for; nil when there is none with this number. What there is for each
    /// message has functions of its own, beside this.
    package subscript(channel number: UInt16) -> AMQPChannelStateMachine? {
        // Both yield an element of the array, so that no channel is copied.
        _read { yield channels.slots[channels.find(number) ?? 0] }
        _modify { yield &channels.slots[channels.index(of: number) ?? 0] }
    }

    /// Takes what stands first in `bytes`, the received bytes not yet used.
    package mutating func receive(_ bytes: UnsafeRawBufferPointer, output: inout ByteBuffer) -> AMQPStep {
        switch phase {
        case .running:
            return isUpdatingSecret ? AMQPStep(consumed: 0, action: .paused) : receiveFrame(bytes, &output)
        case .starting, .securing, .tuning, .opening, .closedByServer: return receiveFrame(bytes, &output)
        case .awaitingHeader: return receiveHeader(bytes, &output)
        case .authenticating, .openingVirtualHost, .closedByClient: return AMQPStep(consumed: 0, action: .paused)
        case .draining, .ended: return AMQPStep(consumed: bytes.count, action: .discard)
        }
    }

    private mutating func receiveHeader(_ bytes: UnsafeRawBufferPointer, _ output: inout ByteBuffer) -> AMQPStep {
        switch ProtocolHeader.judge(bytes) {
        case .needMore: return AMQPStep(consumed: 0, action: .needMore(total: ProtocolHeader.bytes.count))
        case .refused:
            output.writeBytes(ProtocolHeader.bytes)
            phase = .ended
            return AMQPStep(consumed: bytes.count, action: .close(.unknownProtocol))
        case .accepted:
            write(
                .connectionStart(
                    serverProperties: options.serverProperties,
                    mechanisms: Array(options.mechanisms.map(\.rawValue).joined(separator: " ").utf8),
                    locales: Array("en_US".utf8)
                ),
                &output
            )
            phase = .starting
            return AMQPStep(consumed: ProtocolHeader.bytes.count, action: .none)
        }
    }

    /// Writes a method on channel 0.
    func write(_ method: ServerMethod, _ output: inout ByteBuffer) {
        method.encode(channel: 0, into: &output)
    }
}
