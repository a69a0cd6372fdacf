internal import DequeModule

/// Keeps messages with one ordering key apart in time: of each key only one may be out.
///
/// Keys are known by a hash of 64 bits. Two keys that share one wait for each other, which keeps the order of both.
struct KeyGate {
    private struct Line {
        /// The message of this key that is out, or is to go out next.
        var current: UInt64
        /// Those behind it, in their order.
        var waiting: Deque<UInt64> = []
    }

    private var lines: [UInt64: Line] = [:]
    private var keys: [UInt64: UInt64] = [:]
    /// Messages that were passed over.
    private(set) var waitingCount = 0

    var isEmpty: Bool { lines.isEmpty }

    /// A message comes by, in the order of sequences.
    /// - Returns: whether it may go out now; otherwise it waits for those before it.
    mutating func admit(_ sequence: UInt64, key: UInt64) -> Bool {
        if let known = keys[sequence] { return lines[known]?.current == sequence }
        keys[sequence] = key
        if lines[key] == nil {
            lines[key] = Line(current: sequence)
            return true
        }
        lines[key]?.waiting.append(sequence)
        waitingCount += 1
        return false
    }

    /// A message is done, whether it was out or waited.
    /// - Returns: the next of its key, which may go out now.
    mutating func done(_ sequence: UInt64) -> UInt64? {
        guard let key = keys.removeValue(forKey: sequence), let index = lines.index(forKey: key) else { return nil }
        guard lines.values[index].current == sequence else {
            if let place = lines.values[index].waiting.firstIndex(of: sequence) {
                lines.values[index].waiting.remove(at: place)
                waitingCount -= 1
            }
            return nil
        }
        guard let next = lines.values[index].waiting.popFirst() else {
            lines.remove(at: index)
            return nil
        }
        waitingCount -= 1
        lines.values[index].current = next
        return next
    }

    mutating func removeAll() { self = KeyGate() }
}
