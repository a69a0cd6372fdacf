/// The consumers of a channel, by small numbers that stay the same as long as deliveries of theirs wait.
struct ConsumerTable: Sendable {
    /// No consumer: a delivery by basic.get.
    static let none = UInt32.max

    enum Phase: UInt8, Sendable {
        /// With the owner, who has not answered.
        case requested
        case active
        /// Cancelled; what was delivered still waits.
        case cancelled
        case free
    }

    struct Consumer: Sendable {
        var tag: ShortString
        var phase: Phase
        var noAck: Bool
        /// The owner's number of the queue.
        var source: UInt32 = 0
        /// Unacknowledged deliveries it may have; zero: as many as there are.
        var prefetchCount: UInt16
        var unacknowledged = 0
    }

    private(set) var consumers: [Consumer] = []
    /// Those that are not cancelled.
    private(set) var activeCount = 0

    subscript(number: UInt32) -> Consumer? {
        let index = Int(number)
        guard index < consumers.count, consumers[index].phase != .free else { return nil }
        return consumers[index]
    }

    /// The consumer with this tag that is not cancelled.
    func number(of tag: ShortString) -> UInt32? {
        consumers.firstIndex { ($0.phase == .active || $0.phase == .requested) && $0.tag == tag }
            .map { UInt32(truncatingIfNeeded: $0) }
    }

    mutating func insert(_ consumer: Consumer) -> UInt32 {
        activeCount += 1
        if let index = consumers.firstIndex(where: { $0.phase == .free }) {
            consumers[index] = consumer
            return UInt32(truncatingIfNeeded: index)
        }
        consumers.append(consumer)
        return UInt32(truncatingIfNeeded: consumers.count - 1)
    }

    mutating func activate(_ number: UInt32, source: UInt32) {
        guard self[number]?.phase == .requested else { return }
        consumers[Int(number)].phase = .active
        consumers[Int(number)].source = source
    }

    /// It gets nothing more; its number stays until what it got is settled.
    mutating func cancel(_ number: UInt32) {
        guard let consumer = self[number], consumer.phase != .cancelled else { return }
        activeCount -= 1
        consumers[Int(number)].phase = .cancelled
        freeIfDone(number)
    }

    mutating func delivered(_ number: UInt32) {
        guard Int(number) < consumers.count else { return }
        consumers[Int(number)].unacknowledged &+= 1
    }

    mutating func settled(_ number: UInt32) {
        guard Int(number) < consumers.count, consumers[Int(number)].unacknowledged > 0 else { return }
        consumers[Int(number)].unacknowledged &-= 1
        freeIfDone(number)
    }

    private mutating func freeIfDone(_ number: UInt32) {
        let consumer = consumers[Int(number)]
        guard consumer.phase == .cancelled, consumer.unacknowledged == 0 else { return }
        consumers[Int(number)] = Consumer(tag: .empty, phase: .free, noAck: false, prefetchCount: 0)
    }
}
