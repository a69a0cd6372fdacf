package import MessageModel

/// A queue of events in virtual time. Those of the same time come in an order that the seed decides, so that many seeds
/// try many interleavings and one seed repeats one of them.
package struct SeededScheduler<Event> {
    fileprivate struct Entry {
        var time: Timestamp
        /// Drawn when the event is scheduled: the order among events of one time.
        var lot: UInt64
        /// Decides between equal lots.
        var number: UInt64
        var event: Event

        func isBefore(_ other: Entry) -> Bool {
            (time.rawValue, lot, number) < (other.time.rawValue, other.lot, other.number)
        }
    }

    /// The time of the last event, or later after `advance(to:)`.
    package private(set) var now: Timestamp
    /// For the simulation's own decisions too.
    package var generator: SeededGenerator
    /// A binary heap: an entry is before its two children.
    private var heap: [Entry] = []
    private var scheduled: UInt64 = 0

    package init(seed: UInt64, start: Timestamp = .zero) {
        generator = SeededGenerator(seed: seed)
        now = start
    }

    package var isEmpty: Bool { heap.isEmpty }
    package var count: Int { heap.count }
    /// When the next event is due; nil where there is none.
    package var nextTime: Timestamp? { heap.first?.time }

    /// - Parameter time: one that is past means now.
    package mutating func schedule(_ event: Event, at time: Timestamp) {
        scheduled += 1
        let lot = generator.next()
        heap.append(Entry(time: max(time, now), lot: lot, number: scheduled, event: event))
        siftUp(heap.count - 1)
    }

    package mutating func schedule(_ event: Event, afterMicroseconds delay: UInt64 = 0) {
        schedule(event, at: now.advanced(byMicroseconds: delay))
    }

    /// Schedules with a delay that the seed chooses.
    package mutating func schedule(_ event: Event, afterMicroseconds delays: ClosedRange<UInt64>) {
        let delay = UInt64.random(in: delays, using: &generator)
        schedule(event, at: now.advanced(byMicroseconds: delay))
    }

    /// Takes the next event and moves the time to it.
    /// - Parameter limit: an event after this time stays; then the time moves to the limit.
    /// - Returns: nil where there is none.
    package mutating func step(until limit: Timestamp = .never) -> Event? {
        guard let first = heap.first, first.time <= limit else {
            if limit != .never { advance(to: limit) }
            return nil
        }
        now = first.time
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            siftDown(0)
        }
        return first.event
    }

    /// Moves the time on without an event; never back. Events that are passed are ready then, all at this time.
    package mutating func advance(to time: Timestamp) {
        now = max(now, time)
        guard let nextTime, nextTime < now else { return }
        for index in heap.indices where heap[index].time < now { heap[index].time = now }
        heap.sort { $0.isBefore($1) }
    }

    /// Forgets all events, as a crash does.
    package mutating func removeAll() { heap.removeAll() }

    private mutating func siftUp(_ start: Int) {
        var index = start
        while index > 0 {
            let parent = (index - 1) / 2
            guard heap[index].isBefore(heap[parent]) else { return }
            heap.swapAt(index, parent)
            index = parent
        }
    }

    private mutating func siftDown(_ start: Int) {
        var index = start
        while true {
            var first = index
            for child in [2 * index + 1, 2 * index + 2] where child < heap.count && heap[child].isBefore(heap[first]) {
                first = child
            }
            if first == index { return }
            heap.swapAt(index, first)
            index = first
        }
    }
}

extension SeededScheduler: Sendable where Event: Sendable {}
extension SeededScheduler.Entry: Sendable where Event: Sendable {}
