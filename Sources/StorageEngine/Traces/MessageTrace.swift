internal import MessageModel
internal import StorageService

/// What a message leaves behind, besides its place in the index, when it is published.
///
/// For one that is published when it is stored, this follows from its batch. For others it stands in the record that
/// publishes them: who replays that one does not have to go back to the batch.
struct MessageTrace: Equatable {
    enum Kind: Equatable {
        /// Its id, for the topic's deduplication window.
        case messageID(DeduplicationWindow.Hash)
        /// A key or id that it can be looked up by, see `KeyIndex`.
        case key(UInt64)
        /// It is the last value of its name.
        case retained(name: [UInt8], expiry: UInt64, bytes: UInt32)
        /// The name has no last value any more.
        case cleared(name: [UInt8])
        /// It is the last message of its key in a compacted topic, or says that there is none any more.
        case lastOfKey(KeyCompaction.Key, isTombstone: Bool)
    }

    /// It makes its record needed as long as it is the last value of its name.
    var isRetained: Bool { if case .retained = kind { true } else { false } }

    /// The message's place in the batch.
    var record: UInt16
    var kind: Kind

    /// Record u16, code u8, and what the code says.
    func encode(to writer: inout ByteWriter) {
        writer.write16(record)
        switch kind {
        case .messageID(let hash):
            writer.write8(1)
            writer.write64(hash.low)
            writer.write16(hash.more)
        case .key(let hash):
            writer.write8(2)
            writer.write64(hash)
        case .retained(let name, let expiry, let bytes):
            writer.write8(3)
            writer.write(name)
            writer.write64(expiry)
            writer.write32(bytes)
        case .cleared(let name):
            writer.write8(4)
            writer.write(name)
        case .lastOfKey(let key, let isTombstone):
            writer.write8(5)
            writer.write64(key.low)
            writer.write64(key.high)
            writer.write(isTombstone)
        }
    }

    /// How long it is at most.
    var encodedBytes: Int {
        switch kind {
        case .retained(let name, _, _), .cleared(let name): 32 + name.count
        case .messageID, .key, .lastOfKey: 24
        }
    }

    init(record: UInt16, kind: Kind) {
        self.record = record
        self.kind = kind
    }

    init?(from reader: inout ByteReader) {
        guard let record = reader.read16(), let code = reader.read8() else { return nil }
        self.record = record
        switch code {
        case 1:
            guard let low = reader.read64(), let more = reader.read16() else { return nil }
            kind = .messageID(DeduplicationWindow.Hash(low: low, more: more))
        case 2:
            guard let hash = reader.read64() else { return nil }
            kind = .key(hash)
        case 3:
            guard let name = reader.readBytes(), let expiry = reader.read64(), let bytes = reader.read32() else {
                return nil
            }
            kind = .retained(name: name, expiry: expiry, bytes: bytes)
        case 4:
            guard let name = reader.readBytes() else { return nil }
            kind = .cleared(name: name)
        case 5:
            guard let low = reader.read64(), let high = reader.read64(), let isTombstone = reader.readBool() else {
                return nil
            }
            kind = .lastOfKey(KeyCompaction.Key(low: low, high: high), isTombstone: isTombstone)
        default:
            return nil
        }
    }
}

extension BatchTraits {
    /// At least one message leaves a trace.
    private static let leavingTraces: BatchTraits = [.hasMessageIDs, .hasKeys, .hasRetained]

    func leavesTraces(in topic: TopicState) -> Bool {
        !isDisjoint(with: Self.leavingTraces) || topic.policy.retention == .compacted
    }
}
