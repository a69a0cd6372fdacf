internal import MessageModel

/// A batch of a producer came of which all messages were stored before, by their ids: nothing of it is in the log, but its
/// sequences are used.
///
/// Producer u64, topic u32, partition u16, producer epoch u16, first sequence u32, messages u32, offset u64 of the first.
struct ProducerSkip: Equatable {
    var producer: ProducerID
    var partition: PartitionID
    var epoch: UInt16
    var baseSequence: UInt32
    var count: UInt32
    var baseOffset: UInt64

    func encode(to writer: inout ByteWriter) {
        writer.write64(producer.rawValue)
        writer.write32(partition.topic.rawValue)
        writer.write16(partition.index)
        writer.write16(epoch)
        writer.write32(baseSequence)
        writer.write32(count)
        writer.write64(baseOffset)
    }

    init(_ batch: BatchView, of partition: PartitionID, baseOffset: UInt64) {
        producer = batch.producer
        self.partition = partition
        epoch = batch.producerEpoch
        baseSequence = batch.baseSequence
        count = UInt32(batch.recordCount)
        self.baseOffset = baseOffset
    }

    init?(from reader: inout ByteReader) {
        guard let producer = reader.read64(), let topic = reader.read32(), let index = reader.read16(),
            let epoch = reader.read16(), let sequence = reader.read32(), let count = reader.read32(),
            let offset = reader.read64()
        else { return nil }
        self.producer = ProducerID(rawValue: producer)
        partition = PartitionID(topic: TopicID(rawValue: topic), index: index)
        self.epoch = epoch
        baseSequence = sequence
        self.count = count
        baseOffset = offset
    }
}

extension ShardState {
    mutating func apply(_ skip: ProducerSkip) {
        producers.stored(
            producer: skip.producer,
            epoch: skip.epoch,
            baseSequence: skip.baseSequence,
            count: skip.count,
            baseOffset: skip.baseOffset,
            partition: skip.partition
        )
    }
}
