/// The channels of a connection by their numbers. Numbers may be any from 1 to 65,535; most connections have one.
struct ChannelSlots: Sendable {
    /// Nil where a channel was closed, and always at the first place: what there is not is looked for there.
    var slots: [AMQPChannelStateMachine?] = [nil]
    private var indexes: [UInt16: Int] = [:]
    /// Channels that are open or closing.
    private(set) var count = 0
    /// Frames of one channel mostly follow each other.
    private var lastNumber: UInt16 = 0
    private var lastIndex = 0

    @inline(__always)
    mutating func index(of number: UInt16) -> Int? {
        if number == lastNumber, number != 0 { return lastIndex }
        guard let index = indexes[number] else { return nil }
        lastNumber = number
        lastIndex = index
        return index
    }

    func find(_ number: UInt16) -> Int? { indexes[number] }

    mutating func insert(_ channel: AMQPChannelStateMachine) {
        count += 1
        if let index = slots.indices.dropFirst().first(where: { slots[$0] == nil }) {
            slots[index] = channel
            indexes[channel.number] = index
        } else {
            slots.append(channel)
            indexes[channel.number] = slots.count - 1
        }
    }

    mutating func remove(_ number: UInt16) {
        guard let index = indexes.removeValue(forKey: number) else { return }
        slots[index] = nil
        count -= 1
        lastNumber = 0
    }

    mutating func removeAll() { self = ChannelSlots() }

    var numbers: [UInt16] { indexes.keys.sorted() }
}
