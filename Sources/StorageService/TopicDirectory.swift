package import MessageModel

/// A topic as those above storage need it to address messages.
package final class TopicInfo: Sendable {
    package let id: TopicID
    package let name: String
    /// The name as bytes.
    package let nameBytes: [UInt8]
    package let partitions: Int
    /// As declared, besides the topic's own subtree.
    package let captures: [String]

    package init(id: TopicID, name: String, partitions: Int, captures: [String]) {
        self.id = id
        self.name = name
        self.nameBytes = Array(name.utf8)
        self.partitions = partitions
        self.captures = captures
    }

    /// The partition of a message: by its ordering key where it has one, by its name otherwise, so that what has an
    /// order to keep stays together.
    package func partition(for key: UnsafeRawBufferPointer) -> PartitionID {
        guard partitions > 1 else { return PartitionID(topic: id, index: 0) }
        return PartitionID(topic: id, index: UInt16(Checksum.crc32c(key) % UInt32(partitions)))
    }
}

/// The topics of every tenant, by name and by capture. Belongs to one event loop.
package final class TopicDirectory {
    /// The topic that holds every name that no other captures.
    package static let builtInTopic = "default"

    private struct Tenant {
        var byName: [String: TopicInfo] = [:]
        var captures = CaptureTable<TopicID>()
    }

    private var tenants: [TenantID: Tenant] = [:]
    private var byID: [TopicID: TopicInfo] = [:]
    private var former: [TopicID: TopicInfo] = [:]
    /// Grows with each change: what was resolved before a change may be looked up again.
    package private(set) var generation: UInt64 = 0

    package init() {}

    package func topic(_ id: TopicID) -> TopicInfo? { byID[id] }

    /// The name of a topic, also of one that was deleted while messages of it wait in inboxes; empty where it is not known.
    package func name(of id: TopicID) -> [UInt8] { (byID[id] ?? former[id])?.nameBytes ?? [] }

    package func topic(named name: String, tenant: TenantID) -> TopicInfo? { tenants[tenant]?.byName[name] }

    /// The topic that holds messages of this name.
    package func topic(holding name: UnsafeRawBufferPointer, tenant: TenantID) -> TopicInfo? {
        guard let id = tenants[tenant]?.captures.lookup(name) else { return nil }
        return byID[id]
    }

    /// What a new topic would take away from another.
    /// - Returns: the capture and the topic that has just the same one.
    package func conflict(of specification: TopicSpecification, tenant: TenantID) -> (capture: String, topic: String)? {
        guard let known = tenants[tenant] else { return nil }
        let own = specification.name + "/#"
        for other in known.byName.values {
            if other.captures.contains(own) { return (own, other.name) }
            for capture in specification.captures where other.captures.contains(capture) || capture == other.name + "/#"
            {
                return (capture, other.name)
            }
        }
        return nil
    }

    package func insert(_ topic: TopicInfo, tenant: TenantID) {
        generation += 1
        byID[topic.id] = topic
        var entry = tenants[tenant] ?? Tenant()
        entry.byName[topic.name] = topic
        if topic.name == Self.builtInTopic { entry.captures.fallback = topic.id }
        for (prefix, includesSubtree) in Self.prefixes(of: topic) {
            _ = entry.captures.insert(prefix, includesSubtree: includesSubtree, value: topic.id)
        }
        tenants[tenant] = entry
    }

    package func remove(_ id: TopicID, tenant: TenantID) {
        guard let topic = byID.removeValue(forKey: id) else { return }
        generation += 1
        tenants[tenant]?.byName[topic.name] = nil
        for (prefix, includesSubtree) in Self.prefixes(of: topic) {
            tenants[tenant]?.captures.remove(prefix, includesSubtree: includesSubtree)
        }
    }

    /// A topic that was removed is still to be named: it has no partitions and captures any more.
    package func insertFormer(_ topic: TopicInfo) { former[topic.id] = topic }

    package func removeFormer(_ id: TopicID) { former[id] = nil }

    /// The names of a tenant's topics in order.
    package func names(tenant: TenantID) -> [String] { (tenants[tenant]?.byName.keys).map { $0.sorted() } ?? [] }

    private static func prefixes(of topic: TopicInfo) -> [(prefix: [UInt8], includesSubtree: Bool)] {
        var result: [(prefix: [UInt8], includesSubtree: Bool)] = [(topic.nameBytes, true)]
        for capture in topic.captures {
            if capture.hasSuffix("/#") {
                result.append((Array(capture.utf8.dropLast(2)), true))
            } else {
                result.append((Array(capture.utf8), false))
            }
        }
        return result
    }
}
