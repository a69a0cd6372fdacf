import NIOCore
import Testing

@testable import AMQPProtocol

/// A published message as its owner reads it.
struct Published: Equatable {
    var channel: UInt16
    var exchange: String
    var key: String
    var properties: [UInt8]
    var body: [UInt8]
    var confirmTag: UInt64
    var isMandatory: Bool
}

/// A connection's state machine with what the server has written, to read like a transcript.
struct Transcript {
    var machine: AMQPConnectionStateMachine
    var output = ByteBuffer()
    var now: Int64 = 1_000
    /// Bytes that arrived and are not used up.
    private(set) var unread: [UInt8] = []
    var published: [Published] = []
    /// What the last `settle` or its like was about.
    var settled: [SettledDelivery] = []

    init(_ options: AMQPServerOptions = AMQPServerOptions()) {
        machine = AMQPConnectionStateMachine(options: options, randomness: (1, 2), nowMilliseconds: now)
    }

    /// A connection with an open virtual host and channel 1.
    static func open(
        _ options: AMQPServerOptions = AMQPServerOptions(),
        capabilities: FieldTable = [:],
        frame: UInt32 = 0,
        heartbeat: UInt16 = 0,
        channels: UInt16 = 0,
        channel: UInt16? = 1
    ) -> Transcript {
        var transcript = Transcript(options)
        _ = transcript.receives(ProtocolHeader.bytes + startOk(capabilities: capabilities))
        transcript.machine.authenticated(output: &transcript.output)
        _ = transcript.receives(tuneOk(channels: channels, frame: frame, heartbeat: heartbeat) + openHost())
        transcript.machine.openedVirtualHost(output: &transcript.output)
        #expect(transcript.machine.isRunning)
        if let channel { _ = transcript.receives(method(.channelOpen, channel: channel, short(""))) }
        _ = transcript.sent()
        return transcript
    }

    /// Bytes arrive; all that can be used is used. Returns the actions that are not `none`, `needMore` or `discard`.
    mutating func receives(_ bytes: [UInt8]) -> [AMQPAction] {
        unread += bytes
        machine.noteArrival(nowMilliseconds: now)
        return goesOn()
    }

    mutating func goesOn() -> [AMQPAction] {
        var actions: [AMQPAction] = []
        while true {
            let step = unread.withUnsafeBytes { machine.receive($0, output: &output) }
            if case .channel(let channel, .publish(let publish)) = step.action { take(publish, channel) }
            if case .channel = step.action { settled = machine.settled }
            #expect(step.consumed <= unread.count)
            unread.removeFirst(min(step.consumed, unread.count))
            switch step.action {
            case .none: continue
            case .needMore, .discard: return actions
            case .paused:
                actions.append(.paused)
                return actions
            case .close:
                actions.append(step.action)
                return actions
            default: actions.append(step.action)
            }
        }
    }

    /// The only action there is for the channel.
    mutating func channelAction(_ bytes: [UInt8]) -> ChannelAction? {
        guard case .channel(_, let action) = receives(bytes).first else { return nil }
        return action
    }

    private mutating func take(_ publish: InboundPublish, _ channel: UInt16) {
        let bytes = publish.isAssembled ? machine.takeAssembledContent() : unread
        published.append(
            Published(
                channel: channel,
                exchange: String(decoding: bytes[publish.exchange], as: UTF8.self),
                key: String(decoding: bytes[publish.routingKey], as: UTF8.self),
                properties: Array(bytes[publish.properties]),
                body: Array(bytes[publish.body]),
                confirmTag: publish.confirmTag,
                isMandatory: publish.isMandatory
            )
        )
    }

    /// What the server has written since it was asked last, one line for each frame.
    mutating func sent() -> [String] { sentFrames().map(\.line) }

    mutating func sentFrames() -> [SentFrame] {
        defer { output.clear() }
        return frames(Array(output.readableBytesView))
    }

    mutating func completes(_ channel: UInt16 = 1) { machine[channel: channel]?.completed(output: &output) }

    mutating func finishes(_ tags: [UInt64], refused: Bool = false, channel: UInt16 = 1) {
        for tag in tags { machine.finishPublish(tag, onChannel: channel, isRefused: refused) }
    }

    mutating func confirms(_ channel: UInt16 = 1) -> [String] {
        machine[channel: channel]?.writeConfirms(into: &output)
        return sent()
    }

    /// A consumer of a queue with number 7.
    mutating func consumes(tag: String = "c", noAck: Bool = false) -> UInt32 {
        guard case .consume(let request) = channelAction(consume("q", tag: tag, noAck: noAck)) else {
            Issue.record("basic.consume was not accepted")
            return .max
        }
        machine[channel: 1]?.consumed(source: 7, output: &output)
        _ = sent()
        return request.consumer
    }

    mutating func delivers(
        _ text: String = "m",
        to consumer: UInt32,
        token: UInt64 = 0,
        properties: [UInt8] = [],
        channel: UInt16 = 1
    ) -> DeliveryAdmission? {
        var admission: DeliveryAdmission?
        Array("x".utf8).withUnsafeBytes { exchange in
            Array("k".utf8).withUnsafeBytes { key in
                Array(text.utf8).withUnsafeBytes { body in
                    properties.withUnsafeBytes { properties in
                        guard machine[channel: channel] != nil else { return }
                        admission = machine.deliver(
                            onChannel: channel,
                            to: consumer,
                            token: token,
                            isRedelivered: false,
                            exchange: exchange,
                            routingKey: key,
                            properties: properties,
                            body: body,
                            output: &output
                        )
                    }
                }
            }
        }
        return admission
    }

    mutating func fails(_ error: AMQPError, channel: UInt16 = 1) -> AMQPAction {
        machine.fail(channel: channel, error, output: &output)
    }

    mutating func timerFires(after milliseconds: Int64) -> AMQPAction {
        now += milliseconds
        return machine.timerFired(nowMilliseconds: now, output: &output)
    }
}
