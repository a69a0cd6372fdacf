internal import DequeModule

/// Keeps messages with one ordering key apart in time: of each key only one may be out.
///
/// Keys are known by a hash of 64 bits. Two keys that share one wait for each other, which keeps the order of both.
struct KeyGate {
    private struct Line {
        /// The message of this key that is out, or is to go out next.
        var current: UInt64
        /// Others that are out all the same: they went out before the order counted.
        var alsoOut: [UInt64] = []
        /// Those that wait, in their order.
        var waiting: Deque<UInt64> = []
    }

    private var lines: [UInt64: Line] = [:]
    private var keys: [UInt64: UInt64] = [:]
    /// Messages that were passed over.
    private(set) var waitingCount = 0

    var isEmpty: Bool { lines.isEmpty }

    /// Whether a message has to wait for another one.
    func holdsBack(_ sequence: UInt64) -> Bool {
        guard let key = keys[sequence], let line = lines[key] else { return false }
        return line.current != sequence && !line.alsoOut.contains(sequence)
    }

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

    /// A message is out although nobody asked whether it may be: those behind it, and before it, wait.
    mutating func close(_ sequence: UInt64, key: UInt64) {
        guard keys[sequence] == nil else { return }
        keys[sequence] = key
        if lines[key] == nil {
            lines[key] = Line(current: sequence)
        } else {
            lines[key]?.alsoOut.append(sequence)
        }
    }

    /// A message is done, whether it was out or waited.
    /// - Returns: the next of its key, which may go out now.
    mutating func done(_ sequence: UInt64) -> UInt64? {
        guard let key = keys.removeValue(forKey: sequence), let index = lines.index(forKey: key) else { return nil }
        guard lines.values[index].current == sequence else {
            if let place = lines.values[index].alsoOut.firstIndex(of: sequence) {
                lines.values[index].alsoOut.remove(at: place)
            } else if let place = lines.values[index].waiting.firstIndex(of: sequence) {
                lines.values[index].waiting.remove(at: place)
                waitingCount -= 1
            }
            return nil
        }
        if let other = lines.values[index].alsoOut.popLast() {
            lines.values[index].current = other
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

    /// A message that was out is to go out again, in its place among those that wait.
    /// - Returns: the one of its key that may go out now, itself or another; nil where none may. A message that was never
    ///   here may.
    mutating func release(_ sequence: UInt64) -> UInt64? {
        guard let key = keys[sequence], let index = lines.index(forKey: key) else { return sequence }
        if lines.values[index].current == sequence {
            if let other = lines.values[index].alsoOut.popLast() {
                lines.values[index].current = other
            } else {
                guard let first = lines.values[index].waiting.first, first < sequence else { return sequence }
                lines.values[index].waiting.removeFirst()
                waitingCount -= 1
                lines.values[index].current = first
                wait(sequence, index)
                return first
            }
        } else if let place = lines.values[index].alsoOut.firstIndex(of: sequence) {
            lines.values[index].alsoOut.remove(at: place)
        } else {
            return nil
        }
        wait(sequence, index)
        return nil
    }

    private mutating func wait(_ sequence: UInt64, _ index: Dictionary<UInt64, Line>.Index) {
        let place = lines.values[index].waiting.firstIndex { $0 > sequence } ?? lines.values[index].waiting.endIndex
        lines.values[index].waiting.insert(sequence, at: place)
        waitingCount += 1
    }

    mutating func removeAll() { self = KeyGate() }
}
