/// How much a session's owner takes in now: what is delivered beyond that would wait in its memory.
final class SessionFlow {
    /// Bytes that may be delivered; the last batch may take it below zero. Sessions that set no limit never use it up.
    @exclusivity(unchecked) var room = Int.max
    /// Counts how often there was new room.
    @exclusivity(unchecked) private(set) var turn: UInt32 = 0
    /// Attachments that could go on and got nothing of this room, in the order in which they came to their turn.
    private var waiting: [Attachment] = []
    /// Those that got something of it: they come after the others.
    private var served: [Attachment] = []

    /// An attachment has its turn when there is room again.
    func wait(_ attachment: Attachment) {
        guard !attachment.waitsForRoom else { return }
        attachment.waitsForRoom = true
        if attachment.servedInTurn == turn { served.append(attachment) } else { waiting.append(attachment) }
    }

    /// - Returns: those that waited.
    func begin(room bytes: Int) -> [Attachment] {
        room = bytes
        guard bytes > 0 else { return [] }
        turn &+= 1
        guard !waiting.isEmpty || !served.isEmpty else { return [] }
        let next = waiting + served
        removeAll()
        return next
    }

    func removeAll() {
        waiting.removeAll(keepingCapacity: true)
        served.removeAll(keepingCapacity: true)
    }
}

extension Shard {
    /// Says how much a session's owner takes in from now on, see `StorageSession.takeUp`.
    package func takeUp(session: UInt64, bytes: Int) {
        guard let slot = slot(session) else { return }
        for attachment in sessions[slot].flow.begin(room: bytes) {
            attachment.waitsForRoom = false
            if !attachment.isDetached { callUp(attachment) }
        }
    }

    /// Whether something can be delivered to an attachment now. Where only its session is behind, it is called up again.
    @inline(__always)
    func canTake(_ attachment: Attachment) -> Bool {
        guard attachment.hasCredit else { return false }
        if attachment.flow.room > 0 { return true }
        attachment.flow.wait(attachment)
        return false
    }
}
