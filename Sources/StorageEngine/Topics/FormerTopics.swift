internal import MessageModel
internal import StorageService

/// The names of topics that were deleted while messages of theirs wait in inboxes: a message carries only what follows
/// the name of its topic.
///
/// A name is kept as long as the log may hold a message of the topic: up to a position, which is that of the deletion, or
/// of the last message that was moved behind it.
struct FormerTopics {
    struct Entry {
        var info: TopicInfo
        var tenant: TenantID
        /// Nothing of the topic stands at this position or behind it.
        var until: UInt64
    }

    private(set) var entries: [TopicID: Entry] = [:]

    subscript(id: TopicID) -> Entry? { entries[id] }

    mutating func insert(_ info: TopicInfo, tenant: TenantID, until: UInt64) {
        entries[info.id] = Entry(info: info, tenant: tenant, until: until)
    }

    /// A message of a topic stands before this position.
    mutating func moved(_ id: TopicID, until position: UInt64) {
        guard !entries.isEmpty, let until = entries[id]?.until, until < position else { return }
        entries[id]?.until = position
    }

    /// The log begins at this position now.
    /// - Returns: the topics whose names are forgotten with what stood before it.
    mutating func forget(before position: UInt64) -> [TopicID] {
        guard !entries.isEmpty else { return [] }
        let gone = entries.filter { $0.value.until <= position }.map(\.key)
        for id in gone { entries[id] = nil }
        return gone
    }
}

extension FormerTopics {
    func encode(to writer: inout ByteWriter) {
        writer.write32(UInt32(entries.count))
        for (id, entry) in entries.sorted(by: { $0.key < $1.key }) {
            writer.write32(id.rawValue)
            writer.write32(entry.tenant.rawValue)
            writer.write64(entry.until)
            writer.write(entry.info.name)
        }
    }

    /// Nil where the bytes end early.
    init?(from reader: inout ByteReader) {
        guard let count = reader.read32() else { return nil }
        for _ in 0..<count {
            guard let id = reader.read32(), let tenant = reader.read32(), let until = reader.read64(),
                let name = reader.readString()
            else { return nil }
            let info = TopicInfo(id: TopicID(rawValue: id), name: name, partitions: 0, captures: [])
            insert(info, tenant: TenantID(rawValue: tenant), until: until)
        }
    }
}

extension ShardState {
    /// The name of a topic, also of one that was deleted while messages of it wait; empty where it is not known.
    func topicName(_ id: TopicID) -> [UInt8] {
        topics[id]?.info.nameBytes ?? former[id]?.info.nameBytes ?? []
    }

    /// Keeps the name of a topic that is deleted, where inboxes may hold messages of it.
    mutating func keepName(of topic: TopicState, until position: UInt64) {
        let isInInboxes = subscriptions.values.contains { subscription in
            subscription.isInbox && subscription.tenant == topic.tenant
                && subscription.lanes.contains { lane in
                    lane.map { $0.delivery.watermark < $0.sequence.nextOffset } ?? false
                }
        }
        guard isInInboxes else { return }
        keepName(topic.info, tenant: topic.tenant, until: position)
    }

    private mutating func keepName(_ info: TopicInfo, tenant: TenantID, until position: UInt64) {
        let name = TopicInfo(id: info.id, name: info.name, partitions: 0, captures: [])
        former.insert(name, tenant: tenant, until: position)
        directory.insertFormer(name)
    }

    mutating func restore(_ former: FormerTopics) {
        for entry in former.entries.values { keepName(entry.info, tenant: entry.tenant, until: entry.until) }
    }

    /// What stood before this position is gone, and with it the last messages of some former topics.
    mutating func forgetNames(before position: UInt64) {
        for id in former.forget(before: position) { directory.removeFormer(id) }
    }
}
