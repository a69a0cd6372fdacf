import Gateway
import Logging
import MessageModel
import NIOCore
import NIOEmbedded
import NativeFront
import NativeProtocol
import StorageService
import Testing

/// One client on an embedded channel, with a storage whose rounds the test runs.
private final class Connection {
    let storage: NativeTestStorage
    let channel = EmbeddedChannel()
    private var parser = FrameParser()
    private var nextCorrelation: UInt32 = 1
    /// What the server sent and nobody has looked at.
    private var frames: [Received] = []

    struct Received {
        var header: FrameHeader
        var body: [UInt8]

        var status: UInt16 {
            body.withUnsafeBytes { bytes in
                var reader = WireReader(bytes)
                return ResponseStatus(&reader)?.status ?? 0xFFFF
            }
        }

        var code: ErrorCode? { ErrorCode(rawValue: status) }

        func read<Body>(skipping: Int = ResponseStatus.byteCount, _ read: (inout WireReader) -> Body?) throws -> Body {
            let body: Body? = body.withUnsafeBytes { bytes in
                var reader = WireReader(bytes)
                _ = reader.raw(skipping)
                return read(&reader)
            }
            return try #require(body)
        }
    }

    init(_ storage: NativeTestStorage = NativeTestStorage(), configuration: NativeConfiguration = .init()) throws {
        self.storage = storage
        let handler = NativeConnection(
            gateway: Gateway(storage: storage),
            configuration: configuration,
            logger: Logger(label: "test")
        )
        try channel.pipeline.syncOperations.addHandler(handler)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    }

    func hello(maxFrameBytes: UInt32 = UInt32(NativeLimits.frameBytes)) throws {
        try send { Preamble().write(to: &$0) }
        try send {
            $0.writeFrame(FrameHeader(.request, .hello)) {
                HelloRequest(maxFrameBytes: maxFrameBytes, clientName: "t", clientVersion: "1").write(to: &$0)
            }
        }
        #expect(try next()?.status == 0)
    }

    func send(_ write: (inout ByteBuffer) -> Void) throws {
        var buffer = ByteBuffer()
        write(&buffer)
        try channel.writeInbound(buffer)
    }

    /// The number of writes that the server made since the last call.
    func collect() throws -> Int {
        var writes = 0
        while let buffer = try channel.readOutbound(as: ByteBuffer.self) {
            writes += 1
            buffer.withUnsafeReadableBytes { bytes in
                var position = 0
                while case let step = parser.next(bytes, &position, limit: 1 << 30) {
                    switch step {
                    case .preamble: continue
                    case .frame(let frame):
                        frames.append(
                            Received(
                                header: FrameHeader(frame: frame),
                                body: Array(frame[FrameHeader.byteCount...])
                            )
                        )
                    case .needsMore, .invalidLength: return
                    }
                }
            }
        }
        return writes
    }

    func next() throws -> Received? {
        _ = try collect()
        return frames.isEmpty ? nil : frames.removeFirst()
    }

    func all() throws -> [Received] {
        _ = try collect()
        defer { frames = [] }
        return frames
    }

    /// Asks, lets storage answer, and returns the response.
    func ask(
        _ opcode: Opcode,
        handle: UInt32 = 0,
        _ body: (inout ByteBuffer) -> Void = { _ in }
    ) throws -> Received {
        let correlation = nextCorrelation
        nextCorrelation += 1
        try send { $0.writeFrame(FrameHeader(.request, opcode, correlation: correlation, handle: handle), body) }
        storage.runRound()
        let received = try all()
        let mine = received.firstIndex { $0.header.kind == .response && $0.header.correlation == correlation }
        let index = try #require(mine)
        frames = received
        return frames.remove(at: index)
    }

    func openProducer(_ address: String) throws -> OpenProducerResponse {
        try ask(.openProducer) { OpenProducerRequest(address: address).write(to: &$0) }
            .read { OpenProducerResponse(&$0) }
    }

    func produce(
        _ producer: OpenProducerResponse,
        _ bodies: [String],
        sequence: UInt32,
        partition: UInt16 = 0,
        acknowledgement: Acknowledgement = .durable,
        key: String? = nil
    ) throws {
        let batch = testBatch(bodies, producer: producer.producer, sequence: sequence, key: key)
        try send {
            $0.writeFrame(FrameHeader(.request, .produce, flags: .oneWay, handle: producer.handle)) {
                ProduceHead(partition: partition, acknowledgement: acknowledgement).write(to: &$0)
                $0.writeBytes(batch)
            }
        }
    }

    func subscribe(_ address: String, messages: UInt64, bytes: UInt64 = 1 << 20) throws -> SubscribeResponse {
        try ask(.subscribe) {
            SubscribeRequest(start: .first, creditMessages: messages, creditBytes: bytes, address: address)
                .write(to: &$0)
        }.read { SubscribeResponse(&$0) }
    }

    func credit(_ handle: UInt32, messages: UInt64, bytes: UInt64) throws {
        try send {
            $0.writeFrame(FrameHeader(.credit, .credit, handle: handle)) {
                Credit(messages: messages, bytes: bytes).write(to: &$0)
            }
        }
    }
}

private func testBatch(_ bodies: [String], producer: UInt64, sequence: UInt32, key: String? = nil) -> [UInt8] {
    var builder = BatchBuilder()
    builder.begin()
    for body in bodies {
        Array(body.utf8).withUnsafeBytes { body in
            Array((key ?? "").utf8).withUnsafeBytes { keyBytes in
                var fields = RecordFields()
                fields.body = body
                if key != nil { fields.routingKey = keyBytes }
                builder.append(fields)
            }
        }
    }
    return builder.finish(producer: ProducerID(rawValue: producer), baseSequence: sequence) { Array($0) }
}

@Suite("The native front")
struct NativeFrontTests {
    @Test("acknowledges what one round stored in one frame and one write")
    func coalescedAcknowledgements() throws {
        let connection = try Connection()
        try connection.hello()
        let producer = try connection.openProducer("default")
        for number in UInt32(0)..<5 { try connection.produce(producer, ["a", "b"], sequence: number * 2) }
        connection.storage.runRound()
        #expect(try connection.collect() == 1)
        let frames = try connection.all()
        #expect(frames.count == 1)
        let ack = try #require(try frames.first?.read(skipping: 0) { ProduceAck(&$0, version: 1) })
        #expect(ack.status.isOK)
        #expect(ack.runs == [.init(firstSequence: 0, count: 10, baseOffset: 0)])
        #expect(frames[0].header.handle == producer.handle)
    }

    @Test("refuses a batch that is damaged, of another producer, or for no partition, and goes on")
    func refusals() throws {
        let connection = try Connection()
        try connection.hello()
        let producer = try connection.openProducer("default")
        var damaged = testBatch(["abc"], producer: producer.producer, sequence: 0)
        damaged[damaged.count - 1] ^= 1
        try connection.send {
            $0.writeFrame(FrameHeader(.request, .produce, flags: .oneWay, handle: producer.handle)) {
                ProduceHead(partition: 0, acknowledgement: .durable).write(to: &$0)
                $0.writeBytes(damaged)
            }
        }
        #expect(try connection.next()?.code == .checksumMismatch)
        var other = producer
        other.producer = 77
        try connection.produce(other, ["a"], sequence: 0)
        #expect(try connection.next()?.code == .producerFenced)
        try connection.produce(producer, ["a"], sequence: 0, partition: 9)
        #expect(try connection.next()?.code == .invalidArgument)
        other = producer
        other.handle = 0x0001_0001
        try connection.produce(other, ["a"], sequence: 0)
        let stray = try #require(try connection.next())
        #expect(stray.header.kind == .response && stray.code == .notFound)
        for key in ["a/+/b", "a\0b", "#"] {
            try connection.produce(producer, ["a"], sequence: 0, key: key)
            #expect(try connection.next()?.code == .invalidName)
        }
        #expect(connection.storage.appends == 0)
        try connection.produce(producer, ["a"], sequence: 0, key: "good/name")
        connection.storage.runRound()
        #expect(try connection.next()?.status == 0)
    }

    @Test("says nothing of batches that want no acknowledgement, but of those that are refused")
    func noAcknowledgement() throws {
        let connection = try Connection()
        try connection.hello()
        let producer = try connection.openProducer("default")
        try connection.produce(producer, ["a"], sequence: 0, acknowledgement: .none)
        connection.storage.runRound()
        #expect(try connection.next() == nil)
        connection.storage.refusals = [.storageFull]
        try connection.produce(producer, ["a"], sequence: 1, acknowledgement: .none)
        connection.storage.runRound()
        let refusal = try #require(try connection.next())
        #expect(refusal.code == .storageFull)
        #expect(try refusal.read(skipping: 0) { ProduceAck(&$0, version: 1) }.runs.map(\.firstSequence) == [1])
    }

    @Test("still acknowledges what a producer sent before it was closed")
    func closeProducer() throws {
        let connection = try Connection()
        try connection.hello()
        let producer = try connection.openProducer("default")
        try connection.produce(producer, ["a"], sequence: 0)
        #expect(try connection.ask(.closeProducer, handle: producer.handle).status == 0)
        let ack = try #require(try connection.all().first)
        #expect(ack.header.opcode == .produceAck && ack.status == 0)
        try connection.produce(producer, ["b"], sequence: 1)
        #expect(try connection.next()?.code == .notFound)
        #expect(try connection.ask(.closeProducer, handle: producer.handle).code == .notFound)
    }

    @Test("delivers as far as the credit goes, and as the client grants more")
    func credit() throws {
        let connection = try Connection()
        try connection.hello()
        let producer = try connection.openProducer("default")
        for number in UInt32(0)..<6 { try connection.produce(producer, ["\(number)"], sequence: number) }
        connection.storage.runRound()
        _ = try connection.all()
        let subscription = try connection.subscribe("default", messages: 2)
        connection.storage.runRound()
        #expect(try connection.all().filter { $0.header.opcode == .deliver }.count == 2)
        connection.storage.runRound()
        #expect(try connection.all().isEmpty)
        try connection.credit(subscription.handle, messages: 3, bytes: 1 << 20)
        connection.storage.runRound()
        let more = try connection.all()
        #expect(more.count == 3)
        #expect(more.allSatisfy { $0.header.handle == subscription.handle })
        #expect(try connection.ask(.unsubscribe, handle: subscription.handle).status == 0)
        try connection.credit(subscription.handle, messages: 3, bytes: 1 << 20)
        connection.storage.runRound()
        #expect(try connection.all().isEmpty)
    }

    @Test("passes no credit on while the client does not read")
    func backPressure() throws {
        var configuration = NativeConfiguration()
        configuration.limits.maxCreditBytes = 1 << 40
        let connection = try Connection(configuration: configuration)
        try connection.hello()
        let producer = try connection.openProducer("default")
        let large = String(repeating: "x", count: 1 << 20)
        for number in UInt32(0)..<12 {
            try connection.produce(producer, [large], sequence: number)
            connection.storage.runRound()
        }
        _ = try connection.all()
        connection.channel.isWritable = false
        let correlation: UInt32 = 99
        try connection.send {
            $0.writeFrame(FrameHeader(.request, .subscribe, correlation: correlation)) {
                SubscribeRequest(start: .first, creditMessages: 1_000, creditBytes: 1 << 30, address: "default")
                    .write(to: &$0)
            }
        }
        for _ in 0..<5 { connection.storage.runRound() }
        let first = try connection.all().filter { $0.header.opcode == .deliver }.count
        #expect(first >= 4 && first <= 5)
        connection.channel.isWritable = true
        connection.channel.pipeline.fireChannelWritabilityChanged()
        for _ in 0..<5 { connection.storage.runRound() }
        let second = try connection.all().filter { $0.header.opcode == .deliver }.count
        #expect(first + second == 12)
    }

    @Test("ends a client that does not read what it asked for")
    func slowReader() throws {
        var configuration = NativeConfiguration()
        configuration.maxOutgoingBytes = 1 << 20
        let connection = try Connection(configuration: configuration)
        try connection.hello()
        let producer = try connection.openProducer("default")
        let large = String(repeating: "x", count: 2 << 20)
        try connection.produce(producer, [large], sequence: 0)
        connection.storage.runRound()
        _ = try connection.all()
        _ = try connection.subscribe("default", messages: 0, bytes: 0)
        connection.channel.isWritable = false
        try connection.send {
            $0.writeFrame(FrameHeader(.request, .fetch, correlation: 5)) {
                FetchBody(partition: 0, waitMs: 0, maxBytes: 1, offset: 0, topic: .address("default")).write(to: &$0)
            }
        }
        connection.storage.runRound()
        connection.channel.embeddedEventLoop.run()
        #expect(!connection.channel.isActive)
    }

    @Test("tells that an attachment ended")
    func detached() throws {
        let connection = try Connection()
        try connection.hello()
        let subscription = try connection.subscribe("default", messages: 1)
        let session = try #require(connection.storage.sessions.first)
        session.delegate?.attachmentEnded(
            attachment: subscription.handle,
            error: SluiceError(.attachmentFenced, "somebody newer")
        )
        session.delegate?.storageRoundEnded()
        let push = try #require(try connection.next())
        #expect(push.header.opcode == .detached && push.code == .attachmentFenced)
        #expect(try connection.ask(.unsubscribe, handle: subscription.handle).code == .notFound)
    }

    @Test("answers a fetch when there is something, and not after it is withdrawn")
    func waitingFetch() throws {
        let connection = try Connection()
        try connection.hello()
        let producer = try connection.openProducer("default")
        for correlation in UInt32(50)...51 {
            try connection.send {
                $0.writeFrame(FrameHeader(.request, .fetch, correlation: correlation)) {
                    FetchBody(partition: 0, waitMs: 1_000, maxBytes: 1, offset: 0, topic: .address("default"))
                        .write(to: &$0)
                }
            }
        }
        try connection.send { $0.writeFrame(FrameHeader(.cancel, .cancel, correlation: 50)) }
        try connection.produce(producer, ["a"], sequence: 0)
        connection.storage.runRound()
        let answers = try connection.all().filter { $0.header.opcode == .fetch }
        #expect(answers.map(\.header.correlation) == [51])
    }

    @Test("lets so many requests wait and no more")
    func outstanding() throws {
        let connection = try Connection()
        try connection.hello()
        for correlation in UInt32(1)...65 {
            try connection.send { $0.writeFrame(FrameHeader(.request, .health, correlation: correlation)) }
        }
        let refused = try connection.all()
        #expect(refused.map(\.header.correlation) == [65])
        #expect(refused.first?.code == .busy)
        connection.storage.runRound()
        #expect(try connection.all().count == 64)
    }

    @Test("says why it ends a connection")
    func goaway() throws {
        let cases: [(ErrorCode, (inout ByteBuffer) -> Void)] = [
            (.malformed, { $0.writeU32(3) }),
            (.tooLarge, { $0.writeU32(5_000) }),
            (.protocolViolation, { $0.writeFrame(FrameHeader(.request, .fetch)) }),
            (.malformed, { $0.writeFrame(FrameHeader(.request, .hello)) }),
        ]
        for (code, write) in cases {
            let connection = try Connection()
            try connection.send { Preamble().write(to: &$0) }
            try connection.send(write)
            let last = try #require(try connection.all().last)
            #expect(last.header.kind == .goaway)
            #expect(last.code == code)
        }
        let other = try Connection()
        try other.send { $0.writeString("GET / HTTP/1.1\r\n\r\n") }
        #expect(try other.all().isEmpty)
        other.channel.embeddedEventLoop.run()
        #expect(!other.channel.isActive)
    }

    @Test("answers what it has begun before it shuts down")
    func shutdown() throws {
        let connection = try Connection()
        try connection.hello()
        let producer = try connection.openProducer("default")
        try connection.produce(producer, ["a"], sequence: 0)
        connection.channel.pipeline.fireUserInboundEventTriggered(NativeShutdown())
        #expect(try connection.next()?.header.kind == .goaway)
        #expect(!connection.storage.sessions.isEmpty && connection.storage.sessions.allSatisfy(\.isStopped))
        try connection.produce(producer, ["b"], sequence: 1)
        let refusal = try #require(try connection.next())
        #expect(refusal.header.opcode == .produceAck && refusal.code == .shuttingDown)
        connection.storage.runRound()
        #expect(try connection.next()?.status == 0)
    }

    @Test("pings a silent client, and ends one that does not answer")
    func silence() throws {
        let connection = try Connection()
        try connection.hello()
        connection.channel.embeddedEventLoop.advanceTime(by: .seconds(31))
        #expect(try connection.next()?.header.kind == .ping)
        try connection.send { $0.writeFrame(FrameHeader(.pong, .ping)) }
        connection.channel.embeddedEventLoop.advanceTime(by: .seconds(30))
        #expect(try connection.next() == nil)
        connection.channel.embeddedEventLoop.advanceTime(by: .seconds(30))
        #expect(try connection.next()?.header.kind == .ping)
        connection.channel.embeddedEventLoop.advanceTime(by: .seconds(30))
        #expect(try connection.next()?.header.kind == .goaway)
        connection.channel.embeddedEventLoop.advanceTime(by: .seconds(1))
        #expect(!connection.channel.isActive)
    }

    @Test("survives any bytes that a client may send")
    func mutated() throws {
        var recorded = ByteBuffer()
        Preamble().write(to: &recorded)
        recorded.writeFrame(FrameHeader(.request, .hello)) {
            HelloRequest(clientName: "t", clientVersion: "1").write(to: &$0)
        }
        recorded.writeFrame(FrameHeader(.request, .openProducer, correlation: 1)) {
            OpenProducerRequest(flags: .anonymous, address: "default/x").write(to: &$0)
        }
        recorded.writeFrame(FrameHeader(.request, .subscribe, correlation: 2)) {
            SubscribeRequest(start: .first, creditMessages: 9, creditBytes: 999, address: "default/#").write(to: &$0)
        }
        recorded.writeFrame(FrameHeader(.request, .produce, flags: .oneWay, handle: 1)) {
            ProduceHead(partition: 0, acknowledgement: .durable).write(to: &$0)
            $0.writeBytes(testBatch(["a", "b"], producer: 0, sequence: 0, key: "x"))
        }
        recorded.writeFrame(FrameHeader(.credit, .credit, handle: 2)) { Credit(messages: 1, bytes: 1).write(to: &$0) }
        for opcode in Opcode.allCases {
            recorded.writeFrame(FrameHeader(.request, opcode, correlation: 9, handle: 2)) {
                $0.writeRepeatingByte(0, count: 12)
            }
        }
        let whole = Array(recorded.readableBytesView)
        for seed in UInt64(1)...400 {
            var random = NativeTestRandom(state: seed)
            var bytes = whole
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                bytes[Int.random(in: 8..<bytes.count, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
            }
            let connection = try Connection()
            var start = 0
            while start < bytes.count, connection.channel.isActive {
                let end = min(bytes.count, start + Int.random(in: 1...200, using: &random))
                try connection.send { $0.writeBytes(bytes[start..<end]) }
                connection.storage.runRound()
                start = end
            }
            _ = try connection.all()
            _ = try? connection.channel.finish()
        }
    }
}

/// SplitMix64: a failing case is found again by its seed.
private struct NativeTestRandom: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
