internal import AMQPModel
internal import AMQPProtocol
internal import Glibc
internal import MessageModel

/// What clients are told of stored messages: where the topic of the last one is found is not looked for anew.
struct DeliveryEncoding: ~Copyable {
    private var decoder = PropertyDecoder()
    private var topic = TopicID(rawValue: .max)
    private var epoch: UInt64 = 0
    private var topicName: [UInt8] = []
    private var address = TopicAddress.wholeTree
    private var now = Timestamp.zero

    /// Turns to the messages of a batch.
    mutating func begin(_ id: TopicID, name: @autoclosure () -> [UInt8], _ model: borrowing VirtualHostModel) {
        now = .wallClock
        guard id != topic || model.epoch != epoch else { return }
        topic = id
        epoch = model.epoch
        topicName = name()
        address = model.address(ofTopic: String(decoding: topicName, as: UTF8.self))
    }

    @inline(__always)
    mutating func withContent<Result>(
        of record: RecordView,
        _ body: (PropertyDecoder.Content) -> Result
    ) -> Result {
        topicName.withUnsafeBytes { decoder.decode(record, topic: $0, address: address, now: now, body) }
    }
}

extension Timestamp {
    /// By the system's clock.
    static var wallClock: Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(rawValue: UInt64(time.tv_sec) * 1_000_000 + UInt64(time.tv_nsec) / 1_000)
    }
}
