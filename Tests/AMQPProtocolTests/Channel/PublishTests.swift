import NIOCore
import Testing

@testable import AMQPProtocol

@Suite("Published messages")
struct PublishTests {
    @Test("a message in one piece is used where it lies")
    func inPlace() throws {
        var transcript = Transcript.open()
        var properties = BasicProperties()
        properties.deliveryMode = 2
        let action = transcript.channelAction(publish("x", "a.b", "hello", properties: properties, mandatory: true))
        guard case .publish(let inbound) = action else {
            Issue.record("no publish")
            return
        }
        #expect(!inbound.isAssembled && inbound.contains(.deliveryMode) && !inbound.isTransactional)
        #expect(
            transcript.published == [
                Published(
                    channel: 1,
                    exchange: "x",
                    key: "a.b",
                    properties: properties.encoded(),
                    body: Array("hello".utf8),
                    confirmTag: 0,
                    isMandatory: true
                )
            ]
        )
        #expect(MemoryLayout<InboundPublish>.size <= 48)
    }

    @Test("messages come out the same however the stream is cut and channels are mixed")
    func splits() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        for _ in 0..<150 {
            var options = AMQPServerOptions()
            options.limits.maximumContentInPlace = [100, 1_000, 65_536].randomElement(using: &random) ?? 100
            var transcript = Transcript.open(options, frame: 4_096)
            _ = transcript.receives(method(.channelOpen, channel: 2, short("")))
            // Two channels, each with its messages in frames; the frames are mixed, the order of each channel stays.
            var queues: [[[UInt8]]] = [[], []]
            var expected: [UInt16: [Published]] = [1: [], 2: []]
            for channel in UInt16(1)...2 {
                for number in 0..<Int.random(in: 1...6, using: &random) {
                    let size = [0, 1, 50, 4_088, 4_089, 9_000].randomElement(using: &random) ?? 0
                    let payload = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ number) }
                    var properties = BasicProperties()
                    if Bool.random(using: &random) { properties.messageID = "m" }
                    queues[Int(channel) - 1] += [
                        publishMethod(channel: channel, "x", "k\(number)"),
                        contentHeader(channel: channel, bodySize: UInt64(size), properties: properties.encoded()),
                    ]
                    var rest = payload[...]
                    while !rest.isEmpty {
                        let part = rest.prefix(Int.random(in: 1...4_088, using: &random))
                        queues[Int(channel) - 1].append(body(channel: channel, Array(part)))
                        rest = rest.dropFirst(part.count)
                    }
                    expected[channel]?.append(
                        Published(
                            channel: channel,
                            exchange: "x",
                            key: "k\(number)",
                            properties: properties.encoded(),
                            body: payload,
                            confirmTag: 0,
                            isMandatory: false
                        )
                    )
                }
            }
            var stream: [UInt8] = []
            let mixing = Int.random(in: 0...1, using: &random)
            while !queues[0].isEmpty || !queues[1].isEmpty {
                let which =
                    queues[0].isEmpty
                    ? 1 : queues[1].isEmpty ? 0 : mixing == 0 ? 0 : Int.random(in: 0...1, using: &random)
                stream += queues[which].removeFirst()
                if Int.random(in: 0...9, using: &random) == 0 { stream += frame(8, channel: 0, []) }
            }
            var rest = stream[...]
            while !rest.isEmpty {
                let count = Int.random(in: 1...(Bool.random(using: &random) ? 20 : 20_000), using: &random)
                for action in transcript.receives(Array(rest.prefix(count))) {
                    guard case .channel(_, .publish) = action else {
                        Issue.record("\(action), seed \(seed)")
                        return
                    }
                }
                rest = rest.dropFirst(count)
            }
            #expect(transcript.unread.isEmpty, "seed \(seed)")
            for channel in UInt16(1)...2 {
                #expect(transcript.published.filter { $0.channel == channel } == expected[channel], "seed \(seed)")
            }
        }
    }

    @Test("a header that promises much takes no memory before it is kept")
    func promises() {
        var transcript = Transcript.open()
        #expect(transcript.receives(publishMethod() + contentHeader(bodySize: 16_000_000) + body([1])) == [])
        #expect(transcript.machine[channel: 1]?.content.isIdle == false)
        #expect((transcript.machine[channel: 1]?.content.reservedBytes ?? .max) < 200_000)
    }

    @Test("nothing more is confirmed once the channel is closed, and what was finished before is")
    func closing() {
        var transcript = Transcript.open()
        _ = transcript.receives(method(.confirmSelect, [1]) + publish() + publish())
        transcript.finishes([1])
        _ = transcript.fails(.noExchange("x", virtualHost: "/"))
        transcript.finishes([2])
        #expect(
            transcript.confirms() == [
                "1 basicAck 1", "1 channelClose 404 NOT_FOUND - no exchange 'x' in vhost '/' [0,0]",
            ]
        )
    }

    @Test("a mandatory message is returned before its confirm")
    func returned() {
        var transcript = Transcript.open()
        _ = transcript.receives(method(.confirmSelect, [1]) + publish("x", "k", "hi", mandatory: true))
        [UInt8](repeating: 0, count: 2).withUnsafeBytes { bytes in
            #expect(
                transcript.machine[channel: 1]?
                    .returnMessage(
                        exchange: bytes,
                        routingKey: bytes,
                        properties: bytes,
                        body: bytes,
                        output: &transcript.output
                    ) == true
            )
        }
        transcript.finishes([1])
        #expect(transcript.confirms() == ["1 basicReturn", "header", "body", "1 basicAck 1"])
    }

    @Test("confirm and tx exclude each other")
    func modes() {
        var transcript = Transcript.open()
        _ = transcript.receives(method(.confirmSelect, [0]) + method(.txSelect))
        let confirm = "PRECONDITION_FAILED - cannot switch from confirm to tx mode"
        #expect(transcript.sent() == ["1 confirmSelectOk", "1 channelClose 406 \(confirm) [90,10]"])
        transcript = Transcript.open()
        _ = transcript.receives(method(.txSelect) + method(.txSelect) + method(.confirmSelect, [0]))
        let tx = "PRECONDITION_FAILED - cannot switch from tx to confirm mode"
        #expect(transcript.sent() == ["1 txSelectOk", "1 txSelectOk", "1 channelClose 406 \(tx) [85,10]"])
    }

    @Test("a transaction keeps settlements until commit, and gives them back on rollback")
    func transactions() {
        var transcript = Transcript.open()
        let consumer = transcript.consumes()
        _ = transcript.receives(method(.txSelect))
        for token in UInt64(1)...4 { _ = transcript.delivers(to: consumer, token: token) }
        _ = transcript.sent()
        #expect(
            transcript.channelAction(publish()).map {
                if case .publish(let p) = $0 { p.isTransactional } else { false }
            } == true
        )
        #expect(transcript.receives(ack(2, multiple: true) + nack(3)) == [])
        #expect(transcript.channelAction(method(.txRollback)) == .rollback)
        #expect(transcript.sent() == ["1 txRollbackOk"])
        #expect(transcript.machine[channel: 1]?.unacknowledgedCount == 4)
        #expect(transcript.receives(ack(2) + reject(4, requeue: false)) == [])
        #expect(transcript.receives(method(.txCommit) + publish()) == [.channel(1, .commit), .paused])
        #expect(transcript.settled.map(\.token) == [2, 4])
        #expect(transcript.settled.map(\.outcome) == [.acknowledge, .reject])
        #expect(transcript.sent() == [])
        transcript.completes()
        #expect(transcript.sent() == ["1 txCommitOk"])
        #expect(transcript.goesOn().count == 1)
    }
}
