/// A delivery that the client has answered, or that goes back because its channel has ended.
package struct SettledDelivery: Sendable, Hashable {
    package var deliveryTag: UInt64
    /// As the owner gave it with the delivery.
    package var token: UInt64
    /// The owner's number of the queue.
    package var source: UInt32
    /// The consumer it was delivered to; `ConsumerTable.none` for basic.get.
    package var consumer: UInt32
    package var outcome: SettlementOutcome

    @inline(__always)
    init(_ entry: UnacknowledgedDeliveries.Entry, _ outcome: SettlementOutcome) {
        deliveryTag = entry.deliveryTag
        token = entry.token
        source = entry.source
        consumer = entry.consumer
        self.outcome = outcome
    }

    /// The same, back to its queue: what was to be settled with a transaction that failed.
    package var requeued: SettledDelivery {
        var delivery = self
        delivery.outcome = .requeue
        return delivery
    }
}

/// The deliveries of a channel that wait for their acknowledgement, in the order of their tags.
///
/// Tags only grow, so the entries are sorted as they come: one is found by halving, and one that is settled in the
/// middle leaves a hole until there are more holes than entries. A client that holds one delivery for a day while
/// millions pass costs no more than the others that wait.
struct UnacknowledgedDeliveries: Sendable {
    struct Entry: Sendable, Equatable {
        var deliveryTag: UInt64
        var token: UInt64
        var source: UInt32
        /// `hole` where the delivery is settled.
        var consumer: UInt32
    }

    private static let hole = UInt32.max - 1

    private var entries: [Entry] = []
    /// Entries before this one are settled.
    private var head = 0
    /// Deliveries that wait.
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    /// - Parameter entry: with a greater tag than all before.
    mutating func append(_ entry: Entry) {
        entries.append(entry)
        count &+= 1
    }

    /// The index of the first entry whose tag is `tag` or greater.
    private func firstIndex(from tag: UInt64) -> Int {
        var low = head
        var high = entries.count
        if low < high, entries[low].deliveryTag >= tag { return low }
        while low < high {
            let middle = (low &+ high) / 2
            if entries[middle].deliveryTag < tag { low = middle &+ 1 } else { high = middle }
        }
        return low
    }

    func contains(_ tag: UInt64) -> Bool {
        let index = firstIndex(from: tag)
        return index < entries.count && entries[index].deliveryTag == tag && entries[index].consumer != Self.hole
    }

    /// Takes out one delivery; nil when it does not wait.
    mutating func remove(_ tag: UInt64) -> Entry? {
        let index = firstIndex(from: tag)
        guard index < entries.count, entries[index].deliveryTag == tag, entries[index].consumer != Self.hole else {
            return nil
        }
        let entry = entries[index]
        entries[index].consumer = Self.hole
        count &-= 1
        tidy()
        return entry
    }

    /// Takes out all deliveries up to `tag`, the oldest first; `tag` itself must wait. Nil, with nothing taken, when it
    /// does not.
    mutating func remove(through tag: UInt64, _ take: (Entry) -> Void) -> Bool {
        guard contains(tag) else { return false }
        while head < entries.count, entries[head].deliveryTag <= tag {
            if entries[head].consumer != Self.hole {
                take(entries[head])
                count &-= 1
            }
            head &+= 1
        }
        tidy()
        return true
    }

    /// Takes out all, the oldest first.
    mutating func removeAll(_ take: (Entry) -> Void) {
        for index in head..<entries.count where entries[index].consumer != Self.hole { take(entries[index]) }
        entries.removeAll(keepingCapacity: entries.count <= 1_024)
        head = 0
        count = 0
    }

    /// Puts back deliveries that were taken out, each to its place.
    mutating func restore(_ restored: [SettledDelivery]) {
        guard !restored.isEmpty else { return }
        var merged = entries[head...].filter { $0.consumer != Self.hole }
        for delivery in restored {
            merged.append(
                Entry(
                    deliveryTag: delivery.deliveryTag,
                    token: delivery.token,
                    source: delivery.source,
                    consumer: delivery.consumer
                )
            )
        }
        merged.sort { $0.deliveryTag < $1.deliveryTag }
        entries = merged
        head = 0
        count = merged.count
    }

    /// Keeps as many entries as wait, or few more.
    private mutating func tidy() {
        while head < entries.count, entries[head].consumer == Self.hole { head &+= 1 }
        if head == entries.count {
            entries.removeAll(keepingCapacity: entries.count <= 1_024)
            head = 0
            return
        }
        let room = entries.count &- count
        guard room > 32, room > count else { return }
        entries.removeSubrange(0..<head)
        if entries.count > count { entries.removeAll { $0.consumer == Self.hole } }
        head = 0
    }

    /// Entries kept, holes included; what the structure costs.
    var storedCount: Int { entries.count }
}
