internal import MessageModel
internal import StorageService

/// One change of what a subscription keeps for its user, as the log holds it.
enum SessionChange: Equatable {
    case put(UInt64, [UInt8])
    case removed(UInt64)
    /// It has a consumer.
    case used
    /// It has none since this time.
    case unused(since: Timestamp)

    fileprivate enum Code: UInt8 {
        case put = 1
        case removed = 2
        case used = 3
        case unused = 4
    }
}

/// Gathers changes of session states for one record of the log: for each the subscription, a code and, as the code says, a
/// number and a value behind its length, or a time. All numbers are varints.
struct StateJournal {
    /// A record holds about so much: what is more goes into several.
    private let recordBytes: Int
    private var full: [[UInt8]] = []
    private var bytes: [UInt8] = []

    /// Counts how often everything was written.
    private(set) var generation: UInt32 = 0

    init(recordBytes: Int = .max) { self.recordBytes = recordBytes }

    var isEmpty: Bool { full.isEmpty && bytes.isEmpty }
    var isFull: Bool { !full.isEmpty }

    mutating func append(_ change: SessionChange, to id: SubscriptionID) {
        makeRoom()
        Self.write(change, of: id, to: &bytes)
    }

    mutating func append(_ changes: StateChanges) {
        for change in changes.changes {
            makeRoom()
            Self.write(change, of: changes.subscription, to: &bytes)
        }
    }

    private mutating func makeRoom() {
        guard bytes.count >= recordBytes else { return }
        full.append(bytes)
        bytes.removeAll(keepingCapacity: true)
    }

    /// What the next record is to hold.
    func next() -> [UInt8] { full.first ?? bytes }

    /// The next record was written.
    mutating func written() {
        if full.isEmpty { bytes.removeAll(keepingCapacity: true) } else { full.removeFirst() }
        if isEmpty { generation &+= 1 }
    }

    static func encode(_ changes: StateChanges) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(changes.byteCount)
        for change in changes.changes { write(change, of: changes.subscription, to: &bytes) }
        return bytes
    }

    private static func write(_ change: StateChanges.Change, of id: SubscriptionID, to bytes: inout [UInt8]) {
        write(change.value.map { .put(change.key, $0) } ?? .removed(change.key), of: id, to: &bytes)
    }

    private static func write(_ change: SessionChange, of id: SubscriptionID, to bytes: inout [UInt8]) {
        write(UInt64(id.rawValue), to: &bytes)
        switch change {
        case .put(let key, let value):
            bytes.append(SessionChange.Code.put.rawValue)
            write(key, to: &bytes)
            write(UInt64(value.count), to: &bytes)
            bytes.append(contentsOf: value)
        case .removed(let key):
            bytes.append(SessionChange.Code.removed.rawValue)
            write(key, to: &bytes)
        case .used:
            bytes.append(SessionChange.Code.used.rawValue)
        case .unused(let time):
            bytes.append(SessionChange.Code.unused.rawValue)
            write(time.rawValue, to: &bytes)
        }
    }

    private static func write(_ value: UInt64, to bytes: inout [UInt8]) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    /// Reads what was gathered.
    /// - Returns: false where it is malformed; what came before has been passed on.
    static func read(_ bytes: UnsafeRawBufferPointer, _ body: (SubscriptionID, SessionChange) -> Void) -> Bool {
        var position = 0
        while position < bytes.count {
            guard let number = Varint.read(bytes, &position).flatMap({ UInt32(exactly: $0) }), position < bytes.count,
                let code = SessionChange.Code(rawValue: bytes[position])
            else { return false }
            position += 1
            let id = SubscriptionID(rawValue: number)
            if code == .used {
                body(id, .used)
                continue
            }
            guard let operand = Varint.read(bytes, &position) else { return false }
            switch code {
            case .used: break
            case .removed: body(id, .removed(operand))
            case .unused: body(id, .unused(since: Timestamp(rawValue: operand)))
            case .put:
                guard let length = Varint.readLength(bytes, &position) else { return false }
                body(id, .put(operand, Array(bytes.slice(position..<position + length))))
                position += length
            }
        }
        return true
    }
}

extension ShardState {
    /// - Returns: false where the bytes are malformed.
    func applySessionState(_ bytes: UnsafeRawBufferPointer) -> Bool {
        StateJournal.read(bytes) { id, change in subscriptions[id]?.apply(change) }
    }

    func encodeSessionStates(to writer: inout ByteWriter) {
        let kept = subscriptions.values.filter { $0.isLogged && ($0.unusedSince != nil || !$0.sessionState.isEmpty) }
            .sorted { $0.id.rawValue < $1.id.rawValue }
        writer.write32(UInt32(kept.count))
        for subscription in kept {
            writer.write32(subscription.id.rawValue)
            writer.write64(subscription.unusedSince?.rawValue ?? .max)
            writer.write32(UInt32(subscription.sessionState.count))
            for (key, value) in subscription.sessionState.sorted(by: { $0.key < $1.key }) {
                writer.write64(key)
                writer.write(value)
            }
        }
    }

    func decodeSessionStates(from reader: inout ByteReader) -> Void? {
        guard let count = reader.read32() else { return nil }
        for _ in 0..<count {
            guard let id = reader.read32(), let since = reader.read64(), let entries = reader.read32(),
                let subscription = subscriptions[SubscriptionID(rawValue: id)]
            else { return nil }
            if since != .max { subscription.unusedSince = Timestamp(rawValue: since) }
            for _ in 0..<entries {
                guard let key = reader.read64(), let value = reader.readBytes() else { return nil }
                subscription.apply(.put(key, value))
            }
        }
        return ()
    }
}

extension Subscription {
    func apply(_ change: SessionChange) {
        switch change {
        case .put(let key, let value): set(key, value)
        case .removed(let key): set(key, nil)
        case .used: unusedSince = nil
        case .unused(let time): unusedSince = time
        }
    }

    /// - Parameter value: nil where there is to be none.
    func set(_ key: UInt64, _ value: [UInt8]?) {
        if let value {
            if sessionState.updateValue(value, forKey: key) == nil { family?.put(key) }
        } else if sessionState.removeValue(forKey: key) != nil {
            family?.removed(key)
        }
    }
}
