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

private let subscriptionPolicy: WireSubscriptionPolicy = {
    var policy = WireSubscriptionPolicy()
    policy.consumers = 3
    policy.leaseMicroseconds = 1
    policy.maxAttempts = 2
    policy.backoff = "1s,5s"
    policy.deadLetterTopic = "dead"
    policy.selector = "a = 1"
    policy.tags = "x || y"
    policy.nameFilter = Array("a/#".utf8)
    policy.window = 3
    policy.isDurable = false
    policy.expiresUnusedMicroseconds = 4
    policy.maxMessages = 5
    policy.maxBytes = 6
    policy.messageTTLMicroseconds = 7
    policy.overflow = 2
    policy.maxPriority = 9
    policy.takesAtMostOnce = true
    return policy
}()

private let topicPolicy: WireTopicPolicy = {
    var policy = WireTopicPolicy()
    policy.retention = 1
    policy.maxAgeMicroseconds = 2
    policy.maxBytes = 3
    policy.deduplicationMicroseconds = 4
    policy.maxDelayMicroseconds = 5
    return policy
}()

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
        $0.write(to: &$1, version: 1)
    } read: {
        ProduceAck(&$0, version: 1)
    },
    Sample(
        "PRODUCE_ACK of messages that wait",
        ProduceAck(
            status: .ok,
            partition: 3,
            position: 4,
            runs: [
                .init(firstSequence: 5, count: 6, baseOffset: 7),
                .init(firstSequence: 11, count: 1, baseOffset: .max, scheduled: .init(position: 9, record: 2)),
                .init(firstSequence: 12, count: 1, baseOffset: .max),
            ]
        )
    ) {
        $0.write(to: &$1, version: 2)
    } read: {
        ProduceAck(&$0, version: 2)
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
        $0.write(to: &$1, version: 1)
    } read: {
        CreateTopicBody(&$0, version: 1)
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
        $0.write(to: &$1, version: 1)
    } read: {
        WireTopicDescription(&$0, version: 1)
    },
    Sample("CREATE_SUBSCRIPTION", CreateSubscriptionBody(start: .offset(5), name: "s", address: "t")) {
        $0.write(to: &$1, version: 1)
    } read: {
        CreateSubscriptionBody(&$0, version: 1)
    },
    Sample(
        "subscription description",
        WireSubscriptionDescription(
            topic: 1,
            createdAt: .zero,
            isAttached: true,
            name: "s",
            topicName: "t",
            lanes: [.init(acknowledged: 1, next: 2)]
        )
    ) {
        $0.write(to: &$1, version: 1)
    } read: {
        WireSubscriptionDescription(&$0, version: 1)
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
    Sample(
        "CREATE_TOPIC, version 2",
        CreateTopicBody(partitions: 2, name: "t", captures: [], policy: topicPolicy)
    ) {
        $0.write(to: &$1, version: 2)
    } read: {
        CreateTopicBody(&$0, version: 2)
    },
    Sample(
        "topic description, version 2",
        WireTopicDescription(id: 1, createdAt: .zero, name: "t", captures: [], partitions: [], policy: topicPolicy)
    ) {
        $0.write(to: &$1, version: 2)
    } read: {
        WireTopicDescription(&$0, version: 2)
    },
    Sample(
        "CREATE_SUBSCRIPTION, version 2",
        CreateSubscriptionBody(
            start: .next,
            name: "s",
            address: "",
            isInbox: true,
            bindings: [
                WireBinding(kind: 0, pattern: Array("a/+".utf8)),
                WireBinding(
                    kind: 4,
                    topic: "x",
                    pattern: [],
                    arguments: [.init(name: [1], value: nil), .init(name: [2], value: [3, 4])]
                ),
            ],
            policy: subscriptionPolicy
        )
    ) {
        $0.write(to: &$1, version: 2)
    } read: {
        CreateSubscriptionBody(&$0, version: 2)
    },
    Sample(
        "subscription description, version 2",
        WireSubscriptionDescription(
            topic: 0,
            createdAt: .zero,
            isAttached: true,
            name: "s",
            topicName: "",
            lanes: [.init(acknowledged: 1, next: 9, backlog: 5, leased: 2, retrying: 1, oldest: 7)],
            id: 3,
            flags: [.inbox, .paused],
            consumers: 4,
            policy: subscriptionPolicy
        )
    ) {
        $0.write(to: &$1, version: 2)
    } read: {
        WireSubscriptionDescription(&$0, version: 2)
    },
    Sample("UPDATE_SUBSCRIPTION", UpdateSubscriptionBody(name: "s", policy: subscriptionPolicy)) {
        $0.write(to: &$1)
    } read: {
        UpdateSubscriptionBody(&$0)
    },
    Sample("SEEK", SeekBody(name: "s", target: .offset(4), partition: 2)) {
        $0.write(to: &$1)
    } read: {
        SeekBody(&$0)
    },
    Sample("PAUSE", PauseBody(name: "s", isPaused: true)) {
        $0.write(to: &$1)
    } read: {
        PauseBody(&$0)
    },
    Sample("BIND", BindBody(name: "s", binding: WireBinding(kind: 2, topic: "x", pattern: [97]))) {
        $0.write(to: &$1)
    } read: {
        BindBody(&$0)
    },
    Sample(
        "SETTLE_RECEIPTS",
        SettleReceiptsBody(
            settlement: .release(delay: 5, countsAttempt: false),
            receipts: [
                .init(subscription: 1, lane: 2, sequence: 3, generation: 4, first: 3, last: 7, signature: 9)
            ]
        )
    ) {
        $0.write(to: &$1)
    } read: {
        SettleReceiptsBody(&$0)
    },
    Sample("SETTLE_RECEIPTS with a reason", SettleReceiptsBody(settlement: .reject(reason: "no"), receipts: [])) {
        $0.write(to: &$1)
    } read: {
        SettleReceiptsBody(&$0)
    },
    Sample("SETTLE_RECEIPTS that extend", SettleReceiptsBody(settlement: .extend(by: 9), receipts: [])) {
        $0.write(to: &$1)
    } read: {
        SettleReceiptsBody(&$0)
    },
    Sample("BEGIN_TRANSACTION", BeginTransactionBody(checkAfterMicroseconds: 1, checks: 2, owner: "o")) {
        $0.write(to: &$1)
    } read: {
        BeginTransactionBody(&$0)
    },
    Sample(
        "SETTLE_IN_TRANSACTION",
        SettleInTransactionBody(
            transaction: 7,
            receipts: [
                .init(subscription: 1, lane: 2, sequence: 3, generation: 4, first: 3, last: 7, signature: 9)
            ]
        )
    ) {
        $0.write(to: &$1)
    } read: {
        SettleInTransactionBody(&$0)
    },
    Sample("TRANSACTION_CHECK", TransactionCheckBody(transaction: 7, owner: "o")) {
        $0.write(to: &$1)
    } read: {
        TransactionCheckBody(&$0)
    },
    Sample("TOPIC_NAMED", TopicNamedBody(topic: 7, name: "t")) {
        $0.write(to: &$1)
    } read: {
        TopicNamedBody(&$0)
    },
    Sample("CANCEL_SCHEDULED", WireScheduledID(position: 1, record: 2)) {
        $0.write(to: &$1)
    } read: {
        WireScheduledID(&$0)
    },
    Sample("BROWSE", BrowseBody(name: "s", lane: 1, from: 2, limit: 3)) {
        $0.write(to: &$1)
    } read: {
        BrowseBody(&$0)
    },
    Sample("SCAN_RETAINED", ScanRetainedBody(filter: [35], limit: 3, after: [97])) {
        $0.write(to: &$1)
    } read: {
        ScanRetainedBody(&$0)
    },
    Sample(
        "LOOK_UP",
        LookUpBody(isKey: true, value: [1], topic: "t", from: .zero, to: Timestamp(rawValue: 9), limit: 3)
    ) {
        $0.write(to: &$1)
    } read: {
        LookUpBody(&$0)
    },
    Sample("REDRIVE", RedriveBody(topic: "t", selector: "a = 1", rate: 2, limit: 3)) {
        $0.write(to: &$1)
    } read: {
        RedriveBody(&$0)
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
        #expect(read([3, 0, 2, 2] + [UInt8](repeating: 0, count: 8) + batch) == nil)
        #expect(read([3, 0, 2, 1] + [UInt8](repeating: 0, count: 8) + batch) == 3)
        let transaction = ([3, 0, 2, 1] + [7, 0, 0, 0, 0, 0, 0, 0] + batch).withUnsafeBytes {
            ProduceHead.read($0, flags: [])?.head.transaction
        }
        #expect(transaction == 7)
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

    @Test("a field of a policy that is not known is noted, and passed over")
    func unknownField() {
        let body = bytes {
            $0.writeU16(2)
            $0.writeU16(999)
            $0.writeBytes16([1, 2, 3])
            $0.writeU16(3)
            $0.writeBytes16([5, 0, 0, 0])
        }
        let policy = body.withUnsafeBytes { raw in
            var reader = WireReader(raw)
            return WireSubscriptionPolicy(&reader)
        }
        #expect(policy?.unknownField == 999)
        #expect(policy?.maxAttempts == 5)
    }

    @Test("a settlement says what it is and of which messages, in place")
    func settle() {
        let body = bytes {
            WireSettlement.release(delay: nil, countsAttempt: false).write(to: &$0)
            $0.writeU16(2)
            LaneRange(lane: 1, first: 2, last: 3).write(to: &$0)
            LaneRange(lane: 4, first: .max, last: 0).write(to: &$0)
        }
        func read(_ body: [UInt8], _ opcode: Opcode) -> (WireSettlement, [LaneRange])? {
            body.withUnsafeBytes { raw in
                var reader = WireReader(raw)
                guard let settlement = WireSettlement(opcode, &reader), let ranges = LaneRanges(&reader),
                    reader.isAtEnd
                else { return nil }
                return (settlement, (0..<ranges.count).map { ranges[$0] })
            }
        }
        let found = read(body, .release)
        #expect(found?.0 == .release(delay: nil, countsAttempt: false))
        #expect(found?.1 == [LaneRange(lane: 1, first: 2, last: 3), LaneRange(lane: 4, first: .max, last: 0)])
        for length in 0..<body.count { #expect(read(Array(body[0..<length]), .release) == nil) }
        #expect(read([0, 0], .acknowledge)?.1 == [])
        #expect(read([0xFF, 0xFF], .acknowledge) == nil)
        #expect(read([4] + [UInt8](repeating: 0, count: 10), .release) == nil)
        #expect(read([0, 0], .seek) == nil)
    }

    @Test("a delivery's lease stands before its ranges")
    func lease() {
        let batch = batch(["a", "b", "c"])
        let lease = WireLease(
            subscription: 1,
            topic: 2,
            lane: 3,
            attempt: 4,
            firstSequence: 5,
            deadline: 6,
            creditBytes: 7,
            generation: 8,
            lastSequence: 9,
            signature: 10
        )
        let body = bytes {
            $0.writeMultipleIntegers(UInt16(9), DeliverHead.hasLease, UInt32(1), endianness: .little)
            lease.write(to: &$0)
            $0.writeMultipleIntegers(UInt32(1), UInt32(2), endianness: .little)
            $0.writeBytes(batch)
        }
        body.withUnsafeBytes { raw in
            let head = DeliverHead(raw)
            #expect(head?.lease == lease)
            #expect(head?.partition == 9)
            #expect(head?.range(0).first == 1)
            #expect(head?.batch.recordCount == 3)
        }
        for seed in UInt64(1)...2_000 {
            var random = SplitMix64(seed: seed)
            var changed = body
            changed[Int.random(in: changed.indices, using: &random)] ^= UInt8.random(in: 1...255, using: &random)
            changed.removeLast(Int.random(in: 0..<changed.count, using: &random))
            changed.withUnsafeBytes { _ = DeliverHead($0)?.hasValidRanges }
        }
    }
}
