import MessageModel
import Simulator
import StorageService
import TestSupport
import Testing

@testable import StorageEngine

@Suite("What messages leave behind, after random histories")
struct ReplayTests {
    private static let seeds: ClosedRange<UInt64> = 1...12

    /// What the messages so far have left behind, as a snapshot has it, and what is found by each key.
    private func traces(_ bench: DeliveryBench) throws -> [[UInt8]] {
        var state = bench.shard.state
        state.lastTime = Timestamp(rawValue: 1 << 50)
        state.expireTraces()
        state.keys = KeyTable()
        var writer = ByteWriter()
        state.encodeTraces(to: &writer)
        var all = [writer.bytes]
        for key in 0..<20 {
            let query = LookUpQuery(.key(Array("k\(key)".utf8)), limit: 1_000)
            let answer = bench.ask(.lookUp(query))
            guard case .success(.found(let found)) = answer else {
                throw SluiceError(.internal, "the answer is \(String(describing: answer))")
            }
            all.append(found.flatMap { $0.batch })
        }
        return all
    }

    private func message(_ random: inout SeededRandom, _ bench: DeliveryBench) -> DeliveryBench.Message {
        func number(_ count: Int) -> Int { Int.random(in: 0..<count, using: &random) }
        var message = DeliveryBench.Message(number(8) == 0 ? "" : "body \(number(1_000_000))")
        if number(3) > 0 { message.key = "n\(number(15))" }
        if number(3) == 0 { message.orderingKey = "o\(number(8))" }
        if number(2) == 0 { message.id = "id \(number(40))" }
        message.isRetained = number(3) == 0
        message.keys = (0..<number(3)).map { _ in "k\(number(20))" }
        if number(10) == 0 { message.expiry = bench.now.advanced(byMicroseconds: UInt64(number(2_000_000))) }
        if number(15) == 0 { message.deliverAt = bench.now.advanced(byMicroseconds: UInt64(number(300_000))) }
        return message
    }

    @Test("a crash, a stop, and a start without any file lead to the same", arguments: seeds)
    func same(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let bench = try DeliveryBench {
            $0.segmentBytes = 16 << 10
            $0.compactionTail = 16
        }
        let topics = [
            try bench.topic("plain", partitions: 2),
            try bench.topic("once") { $0.deduplicationMicroseconds = 1_000_000_000 },
            try bench.topic("last") { $0.retention = .compacted },
            try bench.topic("both") {
                $0.retention = .compacted
                $0.deduplicationMicroseconds = 5_000_000
            },
        ]
        try bench.cursor("work", topics[1]) { $0.deadLetterTopic = "dead" }
        let dead = try bench.topic("dead")
        var transactions: [TransactionID] = []
        for _ in 0..<250 {
            switch Int.random(in: 0..<30, using: &random) {
            case 0:
                if case .success(.transaction(let id)) = bench.ask(.beginTransaction(.init())) {
                    transactions.append(id)
                }
            case 1:
                if let id = transactions.popLast() { bench.ask(.commitTransaction(id)) }
            case 2:
                if let id = transactions.popLast() { bench.ask(.rollBackTransaction(id)) }
            case 3:
                bench.consume("work", credit: 10)
                for message in bench.take() { bench.settle(message, .reject(reason: "bad")) }
            case 4: bench.ask(.redrive(RedriveRequest(topic: dead)))
            case 5:
                bench.ask(.deleteTopic(name: "gone"))
                let topic = try bench.topic("gone") { $0.retention = .compacted }
                bench.publish(topic, [message(&random, bench), message(&random, bench)])
            case 6: bench.pass(milliseconds: UInt64.random(in: 1..<500, using: &random))
            default:
                let topic = topics.randomElement(using: &random) ?? topics[0]
                let messages = (0..<Int.random(in: 1...6, using: &random)).map { _ in message(&random, bench) }
                let transaction = Int.random(in: 0..<6, using: &random) == 0 ? transactions.last : nil
                let partition = topic == topics[0] ? UInt16.random(in: 0..<2, using: &random) : 0
                bench.publish(topic, messages, partition: partition, transaction: transaction)
            }
            if Int.random(in: 0..<60, using: &random) == 0 { try bench.crash() }
        }
        bench.pass(milliseconds: 1_000)
        let before = try traces(bench)
        #expect(before[0].count > 500 && before[1...].contains { !$0.isEmpty })
        try bench.crash()
        #expect(try traces(bench) == before, "seed \(seed): after a crash")
        try bench.restart()
        #expect(try traces(bench) == before, "seed \(seed): after a stop")
        try bench.restart { _ in true }
        #expect(try traces(bench) == before, "seed \(seed): from the log alone")
    }
}
