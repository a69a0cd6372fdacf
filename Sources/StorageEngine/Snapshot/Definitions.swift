internal import MessageModel
internal import StorageService

/// A topic as the log and the snapshot keep it.
struct TopicDefinition: Equatable {
    var id: TopicID
    var tenant: TenantID
    var createdAt: Timestamp
    var specification: TopicSpecification

    func encode(to writer: inout ByteWriter) {
        writer.write32(id.rawValue)
        writer.write32(tenant.rawValue)
        writer.write64(createdAt.rawValue)
        writer.write(specification.name)
        writer.write16(UInt16(specification.partitions))
        writer.write16(UInt16(specification.captures.count))
        for capture in specification.captures { writer.write(capture) }
    }

    init(id: TopicID, tenant: TenantID, createdAt: Timestamp, specification: TopicSpecification) {
        self.id = id
        self.tenant = tenant
        self.createdAt = createdAt
        self.specification = specification
    }

    init?(from reader: inout ByteReader) {
        guard let id = reader.read32(), let tenant = reader.read32(), let createdAt = reader.read64(),
            let name = reader.readString(), let partitions = reader.read16(), let captureCount = reader.read16(),
            partitions > 0, Int(partitions) <= Limits.partitionsPerTopic
        else { return nil }
        var captures: [String] = []
        for _ in 0..<captureCount {
            guard let capture = reader.readString() else { return nil }
            captures.append(capture)
        }
        self.init(
            id: TopicID(rawValue: id),
            tenant: TenantID(rawValue: tenant),
            createdAt: Timestamp(rawValue: createdAt),
            specification: TopicSpecification(name: name, partitions: Int(partitions), captures: captures)
        )
    }
}

/// A cursor subscription as the log and the snapshot keep it.
struct SubscriptionDefinition: Equatable {
    var id: SubscriptionID
    var tenant: TenantID
    var createdAt: Timestamp
    var topic: TopicID
    var name: String
    var acknowledged: [UInt64]

    func encode(to writer: inout ByteWriter) {
        writer.write32(id.rawValue)
        writer.write32(tenant.rawValue)
        writer.write64(createdAt.rawValue)
        writer.write32(topic.rawValue)
        writer.write(name)
        writer.write16(UInt16(acknowledged.count))
        for offset in acknowledged { writer.write64(offset) }
    }

    init(
        id: SubscriptionID,
        tenant: TenantID,
        createdAt: Timestamp,
        topic: TopicID,
        name: String,
        acknowledged: [UInt64]
    ) {
        self.id = id
        self.tenant = tenant
        self.createdAt = createdAt
        self.topic = topic
        self.name = name
        self.acknowledged = acknowledged
    }

    init?(from reader: inout ByteReader) {
        guard let id = reader.read32(), let tenant = reader.read32(), let createdAt = reader.read64(),
            let topic = reader.read32(), let name = reader.readString(), let count = reader.read16()
        else { return nil }
        var acknowledged: [UInt64] = []
        for _ in 0..<count {
            guard let offset = reader.read64() else { return nil }
            acknowledged.append(offset)
        }
        self.init(
            id: SubscriptionID(rawValue: id),
            tenant: TenantID(rawValue: tenant),
            createdAt: Timestamp(rawValue: createdAt),
            topic: TopicID(rawValue: topic),
            name: name,
            acknowledged: acknowledged
        )
    }
}
