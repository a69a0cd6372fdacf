import MessageModel
import NIOCore
import NativeProtocol
import Testing

private func ready() throws -> ServerSession {
    var session = ServerSession(limits: .init())
    let preamble = bytes { Preamble().write(to: &$0) }
    #expect(preamble.withUnsafeBytes { session.receivedPreamble($0) } == nil)
    _ = try session.receivedHello(
        HelloRequest(clientName: "c", clientVersion: "1"),
        serverName: "s",
        serverVersion: "1"
    )
    return session
}

private func code(_ admission: ServerSession.Admission) -> ErrorCode? {
    switch admission {
    case .refuse(let error), .fatal(let error): error.code
    case .hello, .request, .produce, .credit, .cancel, .ping, .ignore: nil
    }
}

@Suite("The server's session")
struct ServerSessionTests {
    @Test("begins with the preamble, then HELLO, then anything")
    func handshake() throws {
        var session = ServerSession(limits: .init())
        #expect(session.frameLimit == 4 << 10)
        let preamble = bytes { Preamble().write(to: &$0) }
        #expect(preamble.withUnsafeBytes { session.receivedPreamble($0) } == nil)
        #expect(session.admit(FrameHeader(.request, .hello)) == .hello)
        #expect(code(session.admit(FrameHeader(.request, .fetch))) == .protocolViolation)
        #expect(code(session.admit(FrameHeader(.request, .produce))) == .protocolViolation)
        let open = try ready()
        #expect(open.frameLimit == NativeLimits.frameBytes)
        #expect(open.admit(FrameHeader(.request, .fetch)) == .request(.fetch))
        #expect(open.admit(FrameHeader(.request, .produce)) == .produce)
        #expect(code(open.admit(FrameHeader(.request, .hello))) == .protocolViolation)
    }

    @Test("sends away another protocol, another major version and other versions")
    func versions() throws {
        var session = ServerSession(limits: .init())
        let other = Array("GET / HT".utf8).withUnsafeBytes { session.receivedPreamble($0) }
        #expect(other?.isNative == false)
        session = ServerSession(limits: .init())
        let newer = bytes { Preamble(major: 2).write(to: &$0) }.withUnsafeBytes { session.receivedPreamble($0) }
        #expect(newer?.isNative == true)
        #expect(newer?.error.code == .versionNotSupported)
        session = ServerSession(limits: .init())
        #expect {
            _ = try session.receivedHello(
                HelloRequest(minVersion: 2, maxVersion: 3, clientName: "", clientVersion: ""),
                serverName: "",
                serverVersion: ""
            )
        } throws: {
            ($0 as? SluiceError)?.code == .versionNotSupported
        }
    }

    @Test("answers what is not there yet, and ends what is out of turn")
    func admission() throws {
        let session = try ready()
        for opcode in Opcode.allCases where !opcode.isSupported {
            #expect(code(session.admit(FrameHeader(.request, opcode))) == .notSupported, "\(opcode)")
        }
        var unknown = FrameHeader(.request, .fetch)
        unknown.rawOpcode = 0xEEEE
        #expect(code(session.admit(unknown)) == .notSupported)
        #expect(code(session.admit(FrameHeader(.push, .deliver))) == .protocolViolation)
        unknown.rawKind = 99
        #expect(code(session.admit(unknown)) == .protocolViolation)
        #expect(code(session.admit(FrameHeader(.request, .deliver))) == .malformed)
    }

    @Test("speaks of each opcode the version that both know")
    func opcodeVersions() throws {
        let old = try ready()
        #expect(old.version(.subscribe) == 1)
        #expect(old.version(.settleReceipts) == 1)
        var session = ServerSession(limits: .init())
        let preamble = bytes { Preamble().write(to: &$0) }
        #expect(preamble.withUnsafeBytes { session.receivedPreamble($0) } == nil)
        _ = try session.receivedHello(
            HelloRequest(
                clientName: "c",
                clientVersion: "1",
                opcodes: [
                    .init(opcode: Opcode.subscribe.rawValue, version: 9),
                    .init(opcode: Opcode.produce.rawValue, version: 0),
                ]
            ),
            serverName: "s",
            serverVersion: "1"
        )
        #expect(session.version(.subscribe) == Opcode.subscribe.version)
        #expect(session.version(.produce) == 1)
        #expect(session.version(.createTopic) == 1)
    }

    @Test("while it drains it lets progress through and nothing new")
    func draining() throws {
        var session = try ready()
        session.drain()
        #expect(session.admit(FrameHeader(.request, .commit)) == .request(.commit))
        #expect(code(session.admit(FrameHeader(.request, .subscribe))) == .shuttingDown)
        #expect(code(session.admit(FrameHeader(.request, .produce))) == .shuttingDown)
    }
}

@Suite("Handles and waiting requests")
struct HandleTests {
    @Test("a closed handle is not its successor's")
    func generations() throws {
        var table = HandleTable<String>(limit: 2)
        let firstInserted = table.insert("a")
        let first = try #require(firstInserted)
        let secondInserted = table.insert("b")
        let second = try #require(secondInserted)
        #expect(first != 0 && second != 0 && first != second)
        let beyondLimit = table.insert("c")
        #expect(beyondLimit == nil)
        table.remove(place: try #require(table.place(first)))
        let thirdInserted = table.insert("c")
        let third = try #require(thirdInserted)
        #expect(table.place(first) == nil)
        #expect(table[place: try #require(table.place(third))] == "c")
        #expect(table.place(0) == nil)
        for seed in UInt64(1)...1_000 {
            var random = SplitMix64(seed: seed)
            let handle = UInt32.random(in: .min ... .max, using: &random)
            if handle != second, handle != third { #expect(table.place(handle) == nil) }
        }
    }

    @Test("a token is taken once, and as many may wait as may be")
    func pending() throws {
        var pending = PendingRequests<Int>(limit: 2)
        let firstInserted = pending.insert(FrameHeader(.request, .fetch, correlation: 5), 1)
        let first = try #require(firstInserted)
        let secondInserted = pending.insert(FrameHeader(.request, .fetch, correlation: 6), 2)
        let second = try #require(secondInserted)
        let beyondLimit = pending.insert(FrameHeader(.request, .fetch), 3)
        #expect(beyondLimit == nil)
        #expect(pending.token(correlation: 6) == second)
        let taken = pending.take(first)
        #expect(taken?.context == 1)
        let takenTwice = pending.take(first)
        #expect(takenTwice == nil)
        let thirdInserted = pending.insert(FrameHeader(.request, .fetch, correlation: 5), 3)
        let third = try #require(thirdInserted)
        #expect(third != first)
        let takenByOldToken = pending.take(first)
        #expect(takenByOldToken == nil)
        let takenThird = pending.take(third)
        #expect(takenThird?.context == 3)
        let unknown = pending.take(.max)
        #expect(unknown == nil)
    }
}

@Suite("Credit and acknowledgements")
struct CreditTests {
    @Test("credit is passed on in portions and cut at the limit")
    func portions() {
        var ledger = CreditLedger(maxMessages: 1_000, maxBytes: 10_000, portionMessages: 100, portionBytes: 1_000)
        ledger.grant(messages: 5_000, bytes: .max)
        #expect(ledger.heldMessages == 1_000 && ledger.heldBytes == 10_000)
        let firstPortion = ledger.takePortion()
        #expect(firstPortion.map { [$0.messages, $0.bytes] } == [100, 1_000])
        let secondPortion = ledger.takePortion()
        #expect(secondPortion == nil)
        ledger.used(messages: 10, bytes: 400)
        let portionAboveHalf = ledger.takePortion()
        #expect(portionAboveHalf == nil)
        ledger.used(messages: 10, bytes: 5_600)
        #expect(ledger.passedBytes == -5_000)
        let portionAfterDebt = ledger.takePortion()
        #expect(portionAfterDebt.map { [$0.messages, $0.bytes] } == [0, 6_000])
        ledger.grant(messages: .max, bytes: .max)
        #expect(UInt64(ledger.passedBytes) + ledger.heldBytes == 10_000)
        #expect(UInt64(ledger.passedMessages) + ledger.heldMessages == 1_000)
    }

    @Test("what storage can use is never more than the client granted")
    func conservation() {
        for seed in UInt64(1)...200 {
            var random = SplitMix64(seed: seed)
            var ledger = CreditLedger(maxMessages: 1 << 40, maxBytes: 1 << 40, portionMessages: 50, portionBytes: 500)
            var granted: (messages: Int64, bytes: Int64) = (0, 0)
            var used: (messages: Int64, bytes: Int64) = (0, 0)
            for _ in 0..<100 {
                let messages = UInt64.random(in: 0...80, using: &random)
                let bytes = UInt64.random(in: 0...800, using: &random)
                ledger.grant(messages: messages, bytes: bytes)
                granted = (granted.messages + Int64(messages), granted.bytes + Int64(bytes))
                _ = ledger.takePortion()
                if ledger.passedMessages > 0, ledger.passedBytes > 0 {
                    let messages = UInt64.random(in: 1...60, using: &random)
                    let bytes = UInt64.random(in: 1...600, using: &random)
                    ledger.used(messages: messages, bytes: bytes)
                    used = (used.messages + Int64(messages), used.bytes + Int64(bytes))
                }
                #expect(
                    Int64(ledger.heldMessages) + ledger.passedMessages + used.messages == granted.messages,
                    "seed \(seed)"
                )
                #expect(Int64(ledger.heldBytes) + ledger.passedBytes + used.bytes == granted.bytes, "seed \(seed)")
            }
        }
    }

    @Test("acknowledgements of a moment become one frame for each partition, with a run for what follows on")
    func acknowledgements() {
        var gatherer = ProduceAckGatherer()
        var buffer = ByteBuffer()
        func add(_ handle: UInt32, _ partition: UInt16, _ sequence: UInt32, _ count: UInt32, _ offset: UInt64) {
            gatherer.add(
                handle: handle,
                partition: partition,
                firstSequence: sequence,
                count: count,
                baseOffset: offset,
                position: LogPosition(rawValue: offset),
                to: &buffer
            )
        }
        add(1, 0, 0, 10, 100)
        add(1, 0, 10, 5, 110)
        add(1, 1, 0, 3, 7)
        add(1, 0, 15, 5, 200)
        add(1, 0, UInt32.max - 1, 2, 300)
        add(1, 0, 0, 4, 302)
        gatherer.flush(to: &buffer)
        #expect(gatherer.isEmpty)
        var acks: [ProduceAck] = []
        let frames = parse(Array(buffer.readableBytesView), reads: [buffer.readableBytes], limit: 1 << 20).frames
        for frame in frames {
            frame.withUnsafeBytes { bytes in
                var reader = WireReader(Frame.read(bytes).frame.body)
                if let ack = ProduceAck(&reader, version: 1) { acks.append(ack) }
            }
        }
        #expect(
            acks == [
                ProduceAck(
                    status: .ok,
                    partition: 0,
                    position: 302,
                    runs: [
                        .init(firstSequence: 0, count: 15, baseOffset: 100),
                        .init(firstSequence: 15, count: 5, baseOffset: 200),
                        .init(firstSequence: UInt32.max - 1, count: 6, baseOffset: 300),
                    ]
                ),
                ProduceAck(
                    status: .ok,
                    partition: 1,
                    position: 7,
                    runs: [.init(firstSequence: 0, count: 3, baseOffset: 7)]
                ),
            ]
        )
    }
}

@Suite("The client's session")
struct ClientSessionTests {
    private func received(_ session: inout ClientSession, _ frame: [UInt8]) -> ClientSession.Event {
        frame.withUnsafeBytes { session.received(Frame.read($0).frame) }
    }

    @Test("is ready once HELLO is answered, and says why when it is not")
    func handshake() {
        let preamble = bytes { Preamble().write(to: &$0) }
        var session = ClientSession()
        #expect(preamble.withUnsafeBytes { session.receivedPreamble($0) } == nil)
        let hello = bytes {
            $0.writeFrame(FrameHeader(.response, .hello)) {
                ResponseStatus.ok.write(to: &$0)
                HelloResponse(serverName: "s", serverVersion: "1").write(to: &$0)
            }
        }
        guard case .ready(let response) = received(&session, hello) else {
            Issue.record("not ready")
            return
        }
        #expect(response.serverName == "s")
        #expect(response.opcodes == OpcodeVersion.supported)

        session = ClientSession()
        _ = preamble.withUnsafeBytes { session.receivedPreamble($0) }
        let refusal = bytes {
            $0.writeError(SluiceError(.busy, "full", hint: "later"), FrameHeader(.goaway, .goaway))
        }
        guard case .goaway(let error) = received(&session, refusal) else {
            Issue.record("no goaway")
            return
        }
        #expect(error == SluiceError(.busy, "full", hint: "later"))
    }

    @Test("no bytes of a server make it trap")
    func mutated() {
        let frames = bytes {
            $0.writeFrame(FrameHeader(.response, .hello)) {
                ResponseStatus.ok.write(to: &$0)
                HelloResponse(serverName: "s", serverVersion: "1").write(to: &$0)
            }
        }
        for seed in UInt64(1)...500 {
            var random = SplitMix64(seed: seed)
            var frame = frames
            for _ in 0..<3 {
                frame[Int.random(in: 4..<frame.count, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
            }
            var session = ClientSession()
            _ = bytes { Preamble().write(to: &$0) }.withUnsafeBytes { session.receivedPreamble($0) }
            _ = received(&session, frame)
        }
    }
}
