import MessageModel
import Testing

@testable import StorageEngine

@Suite("Producer table")
struct ProducerTableTests {
    let partition = PartitionID(topic: TopicID(rawValue: 1), index: 0)

    private func judge(
        _ table: ProducerTable,
        producer: UInt64 = 1,
        epoch: UInt16 = 0,
        sequence: UInt32,
        count: Int = 1
    ) -> ProducerTable.Verdict {
        var builder = BatchBuilder()
        for _ in 0..<count { builder.append(RecordFields()) }
        return builder.finish(
            producer: ProducerID(rawValue: producer),
            producerEpoch: epoch,
            baseSequence: sequence
        ) { bytes in
            BatchView(prefixOf: bytes).map { table.judge($0, partition: partition) } ?? .fenced
        }
    }

    private func store(
        _ table: inout ProducerTable,
        producer: UInt64 = 1,
        epoch: UInt16 = 0,
        sequence: UInt32,
        count: UInt32 = 1,
        offset: UInt64
    ) {
        table.stored(
            producer: ProducerID(rawValue: producer),
            epoch: epoch,
            baseSequence: sequence,
            count: count,
            baseOffset: offset,
            partition: partition
        )
    }

    @Test("an unknown producer begins with its first sequence")
    func begins() {
        let table = ProducerTable(limit: 10)
        #expect(judge(table, sequence: 0) == .new)
        #expect(judge(table, sequence: 5) == .gap(expected: 0))
    }

    @Test("a repeated batch gets the offset that it got, as long as that is remembered")
    func repeated() {
        var table = ProducerTable(limit: 10)
        for index in 0..<100 as Range<UInt32> {
            #expect(judge(table, sequence: index * 3, count: 3) == .new)
            store(&table, sequence: index * 3, count: 3, offset: UInt64(index) * 10)
        }
        #expect(judge(table, sequence: 297, count: 3) == .duplicate(baseOffset: 990))
        #expect(judge(table, sequence: 108, count: 3) == .duplicate(baseOffset: 360))
        #expect(judge(table, sequence: 105, count: 3) == .duplicate(baseOffset: nil))
        #expect(judge(table, sequence: 303, count: 3) == .gap(expected: 300))
        #expect(table.nextSequence(of: ProducerID(rawValue: 1), partition: partition) == 300)
    }

    @Test("a newer epoch takes over and fences the older")
    func fences() {
        var table = ProducerTable(limit: 10)
        store(&table, epoch: 1, sequence: 0, offset: 0)
        #expect(judge(table, epoch: 2, sequence: 7) == .gap(expected: 0))
        #expect(judge(table, epoch: 2, sequence: 0) == .new)
        store(&table, epoch: 2, sequence: 0, offset: 1)
        #expect(judge(table, epoch: 1, sequence: 1) == .fenced)
        #expect(judge(table, epoch: 2, sequence: 0) == .duplicate(baseOffset: 1))
    }

    @Test("sequences wrap around")
    func wraps() {
        var table = ProducerTable(limit: 10)
        store(&table, sequence: .max - 1, count: 2, offset: 40)
        #expect(judge(table, sequence: 0) == .new)
        #expect(judge(table, sequence: .max - 1, count: 2) == .duplicate(baseOffset: 40))
        #expect(judge(table, sequence: 1) == .gap(expected: 0))
    }

    @Test("beyond the limit the longest unused are forgotten")
    func forgets() {
        var table = ProducerTable(limit: 8)
        for producer in 1...8 as ClosedRange<UInt64> {
            store(&table, producer: producer, sequence: 0, offset: producer)
        }
        store(&table, producer: 1, sequence: 1, offset: 20)
        store(&table, producer: 9, sequence: 0, offset: 21)
        #expect(table.states.count <= 8)
        #expect(judge(table, producer: 1, sequence: 2) == .new)
        #expect(judge(table, producer: 9, sequence: 1) == .new)
        #expect(judge(table, producer: 2, sequence: 1) == .gap(expected: 0))
    }

    @Test("with a topic go its producers")
    func forgetsTopic() {
        var table = ProducerTable(limit: 8)
        store(&table, sequence: 0, offset: 0)
        table.forget(topic: TopicID(rawValue: 2))
        #expect(table.states.count == 1)
        table.forget(topic: TopicID(rawValue: 1))
        #expect(table.states.isEmpty)
    }
}
