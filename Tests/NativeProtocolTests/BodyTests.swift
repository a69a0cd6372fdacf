import MessageModel
import NIOCore
import NativeProtocol
import Testing

/// One body of every kind, written and read back.
private struct Sample {
    var name: String
    var bytes: [UInt8]
    /// Reads it and writes it again; nil where it is malformed.
    var rewrite: @Sendable ([UInt8]) -> [UInt8]?

    init<Body>(
        _ name: String,
        _ body: Body,
        write: @escaping @Sendable (Body, inout ByteBuffer) -> Void,
        read: @escaping @Sendable (inout WireReader) -> Body?
    ) {
        self.name = name
        bytes = NativeProtocolTests.bytes { write(body, &$0) }
        rewrite = { input in
            let body: Body? = input.withUnsafeBytes { raw in
                var reader = WireReader(raw)
                guard let body = read(&reader), reader.isAtEnd else { return nil }
                return body
            }
            return body.map { body in NativeProtocolTests.bytes { write(body, &$0) } }
        }
    }
}

private let samples: [Sample] = [
    Sample(
        "HELLO",
        HelloRequest(clientName: "c", clientVersion: "2", opcodes: [.init(opcode: 1, version: 2)])
    ) {
        $0.write(to: &$1)
    } read: {
        HelloRequest(&$0)
    },
    Sample("HELLO answer", HelloResponse(serverName: "s", serverVersion: "1")) {
        $0.write(to: &$1)
    } read: {
        HelloResponse(&$0)
    },
    Sample("OPEN_PRODUCER", OpenProducerRequest(resume: 7, address: "a/b")) {
        $0.write(to: &$1)
    } read: {
        OpenProducerRequest(&$0)
    },
    Sample(
        "OPEN_PRODUCER answer",
        OpenProducerResponse(
            handle: 1,
            topic: 2,
            producer: 3,
            epoch: 4,
            partitions: 5,
            nextSequence: 6,
            topicName: "t",
            hasRoutingKey: true,
            isAbsolute: true,
            routingKey: [1, 2]
        )
    ) {
        $0.write(to: &$1)
    } read: {
        OpenProducerResponse(&$0)
    },
    Sample(
        "PRODUCE_ACK",
        ProduceAck(
            status: ResponseStatus(.busy),
            partition: 3,
            position: 4,
            runs: [.init(firstSequence: 5, count: 6, baseOffset: 7)]
        )
    ) {
        $0.write(to: &$1)
    } read: {
        ProduceAck(&$0)
    },
    Sample(
        "SUBSCRIBE",
        SubscribeRequest(start: .time(Timestamp(rawValue: 9)), creditMessages: 1, creditBytes: 2, address: "a/#")
    ) {
        $0.write(to: &$1)
    } read: {
        SubscribeRequest(&$0)
    },
    Sample("SUBSCRIBE answer", SubscribeResponse(handle: 1, topic: 2, partitions: 3, topicName: "x")) {
        $0.write(to: &$1)
    } read: {
        SubscribeResponse(&$0)
    },
    Sample("CREDIT", Credit(messages: 1, bytes: 2)) {
        $0.write(to: &$1)
    } read: {
        Credit(&$0)
    },
    Sample("COMMIT", CommitRequest(partition: 1, offset: 2)) {
        $0.write(to: &$1)
    } read: {
        CommitRequest(&$0)
    },
    Sample("FETCH", FetchBody(partition: 1, waitMs: 2, maxBytes: 3, offset: 4, topic: .address("t"))) {
        $0.write(to: &$1)
    } read: {
        FetchBody(&$0)
    },
    Sample("FIND_OFFSET", FindOffsetBody(partition: 1, query: .first, topic: .id(3))) {
        $0.write(to: &$1)
    } read: {
        FindOffsetBody(&$0)
    },
    Sample("FIND_OFFSET answer", FoundOffset(offset: 1, time: .zero)) {
        $0.write(to: &$1)
    } read: {
        FoundOffset(&$0)
    },
    Sample("CREATE_TOPIC", CreateTopicBody(partitions: 2, name: "t", captures: ["a/#", "b"])) {
        $0.write(to: &$1)
    } read: {
        CreateTopicBody(&$0)
    },
    Sample("DESCRIBE_TOPIC", DescribeTopicBody(resolvesAddress: true, name: "t")) {
        $0.write(to: &$1)
    } read: {
        DescribeTopicBody(&$0)
    },
    Sample(
        "topic description",
        WireTopicDescription(id: 1, createdAt: .zero, name: "t", captures: ["c"], partitions: [.init(from: 1, next: 2)])
    ) {
        $0.write(to: &$1)
    } read: {
        WireTopicDescription(&$0)
    },
    Sample("CREATE_SUBSCRIPTION", CreateSubscriptionBody(start: .offset(5), name: "s", address: "t")) {
        $0.write(to: &$1)
    } read: {
        CreateSubscriptionBody(&$0)
    },
    Sample(
        "subscription description",
        WireSubscriptionDescription(
            topic: 1,
            createdAt: .zero,
            isAttached: true,
            name: "s",
            topicName: "t",
            partitions: [.init(from: 1, next: 2)]
        )
    ) {
        $0.write(to: &$1)
    } read: {
        WireSubscriptionDescription(&$0)
    },
    Sample("LIST", ListBody(limit: 3, after: "x")) {
        $0.write(to: &$1)
    } read: {
        ListBody(&$0)
    },
    Sample("name", NameBody(name: "x")) {
        $0.write(to: &$1)
    } read: {
        NameBody(&$0)
    },
    Sample("HEALTH answer", WireHealth(acceptsWrites: true, durable: 1, end: 2, reason: "r")) {
        $0.write(to: &$1)
    } read: {
        WireHealth(&$0)
    },
]

@Suite("Bodies")
struct BodyTests {
    @Test("every body comes back as it was written")
    func roundTrip() {
        for sample in samples { #expect(sample.rewrite(sample.bytes) == sample.bytes, "\(sample.name)") }
    }

    @Test("every body that is cut short is malformed")
    func truncated() {
        for sample in samples {
            for length in 0..<sample.bytes.count {
                #expect(sample.rewrite(Array(sample.bytes[0..<length])) == nil, "\(sample.name), \(length) bytes")
            }
        }
    }

    @Test("no bytes make a reader trap, and what is read can be written")
    func mutated() {
        for seed in UInt64(1)...300 {
            var random = SplitMix64(seed: seed)
            for sample in samples {
                var bytes = sample.bytes
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(
                        in: .min ... .max,
                        using: &random
                    )
                }
                if let again = sample.rewrite(bytes), let twice = sample.rewrite(again) {
                    #expect(again == twice, "\(sample.name), seed \(seed)")
                }
            }
        }
    }

    @Test("a PRODUCE body is a head and just one batch")
    func produce() {
        let batch = batch(["a", "b"])
        func read(_ body: [UInt8], flags: FrameFlags = []) -> UInt16? {
            body.withUnsafeBytes { ProduceHead.read($0, flags: flags)?.head.partition }
        }
        #expect(read([3, 0, 2, 0] + batch) == 3)
        #expect(read([3, 0, 3, 0] + batch) == nil)
        #expect(read([3, 0, 2, 1] + batch) == nil)
        #expect(read([3, 0, 2, 0] + batch + [0]) == nil)
        #expect(read([3, 0, 2, 0] + batch + [0], flags: .tail) == 3)
        #expect(read([3, 0, 2, 0] + batch.dropLast()) == nil)
        #expect(read([3, 0, 2]) == nil)
        for seed in UInt64(1)...2_000 {
            var random = SplitMix64(seed: seed)
            var body = [3, 0, 2, 0] + batch
            body[Int.random(in: body.indices, using: &random)] ^= UInt8.random(in: 1...255, using: &random)
            body.withUnsafeBytes { body in
                guard let (_, view) = ProduceHead.read(body, flags: []) else { return }
                try? view.verify()
            }
        }
    }

    @Test("a delivery's ranges are ascending and within the batch")
    func deliver() {
        let batch = batch(["a", "b", "c"])
        func isValid(_ ranges: [(UInt32, UInt32)], claimed: UInt32? = nil) -> Bool? {
            let body = bytes {
                $0.writeMultipleIntegers(UInt16(0), UInt16(0), claimed ?? UInt32(ranges.count), endianness: .little)
                for (first, last) in ranges { $0.writeMultipleIntegers(first, last, endianness: .little) }
                $0.writeBytes(batch)
            }
            return body.withUnsafeBytes { DeliverHead($0)?.hasValidRanges }
        }
        #expect(isValid([]) == true)
        #expect(isValid([(0, 0), (2, 2)]) == true)
        #expect(isValid([(1, 0)]) == false)
        #expect(isValid([(0, 1), (1, 2)]) == false)
        #expect(isValid([(0, 3)]) == false)
        #expect(isValid([], claimed: .max) == nil)
    }
}
