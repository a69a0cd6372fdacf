import NIOCore

/// The messages of a channel in confirm mode that were not confirmed to their publisher, by their sequence numbers.
///
/// Messages are finished in any order. What stands at the front goes out in runs, each one frame with `multiple`; what is
/// finished behind one that is not goes out on its own, so that a slow message holds up no other. A run ends where a
/// confirm and a refusal meet: `multiple` covers neither an unfinished message nor one with another outcome.
struct PublisherConfirms: Sendable {
    private enum State: UInt8 {
        case pending
        case confirmed
        case refused
        /// The client knows.
        case told
    }

    /// A ring whose size is a power of two; a sequence's place is its low bits.
    private var ring: [UInt8] = []
    /// The oldest sequence number the client was not told about; they begin with 1.
    private(set) var first: UInt64 = 1
    /// The sequence number of the next message.
    private(set) var next: UInt64 = 1
    /// All before this one are finished.
    private var frontier: UInt64 = 1
    /// Finished behind one that is not, and not told.
    private var early: [UInt64] = []

    /// Messages not confirmed.
    var count: Int { Int(truncatingIfNeeded: next &- first) }

    private func place(_ sequence: UInt64) -> Int { Int(truncatingIfNeeded: sequence) & (ring.count &- 1) }

    /// A message arrived; its sequence number.
    mutating func append() -> UInt64 {
        if count == ring.count { grow() }
        let sequence = next
        ring[place(sequence)] = State.pending.rawValue
        next &+= 1
        return sequence
    }

    /// A message is where it is safe, or was refused. Nothing happens to one that is finished already.
    mutating func finish(_ sequence: UInt64, isRefused: Bool) {
        guard sequence >= first, sequence < next, ring[place(sequence)] == State.pending.rawValue else { return }
        ring[place(sequence)] = (isRefused ? State.refused : .confirmed).rawValue
        guard sequence == frontier else {
            early.append(sequence)
            return
        }
        repeat { frontier &+= 1 } while frontier < next && ring[place(frontier)] != State.pending.rawValue
    }

    /// Appends what the client can be told.
    ///
    /// - Returns: how many messages that were.
    mutating func write(channel: UInt16, into output: inout ByteBuffer) -> Int {
        var told = 0
        while first < frontier { told &+= writeRun(channel: channel, into: &output) }
        for sequence in early where sequence >= first {
            let state = ring[place(sequence)]
            ConfirmFrame.encode(
                channel: channel,
                tag: sequence,
                isMultiple: false,
                isNegative: state == State.refused.rawValue,
                into: &output
            )
            ring[place(sequence)] = State.told.rawValue
            told &+= 1
        }
        early.removeAll(keepingCapacity: true)
        return told
    }

    /// Writes the run that begins with the oldest, which is finished, and moves behind it.
    private mutating func writeRun(channel: UInt16, into output: inout ByteBuffer) -> Int {
        while first < frontier, ring[place(first)] == State.told.rawValue { first &+= 1 }
        guard first < frontier else { return 0 }
        let outcome = ring[place(first)]
        var last = first
        var count = 0
        while first < frontier {
            let state = ring[place(first)]
            if state == outcome {
                last = first
                count &+= 1
            } else if state != State.told.rawValue {
                break
            }
            first &+= 1
        }
        ConfirmFrame.encode(
            channel: channel,
            tag: last,
            isMultiple: count > 1,
            isNegative: outcome == State.refused.rawValue,
            into: &output
        )
        return count
    }

    private mutating func grow() {
        let size = max(16, ring.count * 2)
        var larger = [UInt8](repeating: 0, count: size)
        for sequence in first..<next {
            larger[Int(truncatingIfNeeded: sequence) & (size - 1)] = ring[place(sequence)]
        }
        ring = larger
    }
}
