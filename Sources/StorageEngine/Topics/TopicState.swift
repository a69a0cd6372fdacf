internal import MessageModel
internal import StorageService

/// A topic and what stands in its partitions.
final class TopicState {
    let info: TopicInfo
    let tenant: TenantID
    let createdAt: Timestamp
    let partitions: [PartitionState]

    init(info: TopicInfo, tenant: TenantID, createdAt: Timestamp) {
        self.info = info
        self.tenant = tenant
        self.createdAt = createdAt
        partitions = (0..<info.partitions).map { index in
            PartitionState(id: PartitionID(topic: info.id, index: UInt16(index)))
        }
    }
}

/// One ordered sequence of messages, and who waits at its end.
final class PartitionState {
    let id: PartitionID
    var index = PartitionIndex()
    /// The offset that the next message gets.
    var nextOffset: UInt64 = 0
    /// Readers see messages before this offset: those that are durable.
    var visibleOffset: UInt64 = 0
    var isDeleted = false
    /// Readers that have seen everything visible.
    var waiters: [PartitionReader] = []
    /// The newest segment that holds a batch of this partition; `UInt64.max` for none.
    var lastSegment = UInt64.max

    init(id: PartitionID) { self.id = id }

    /// The oldest offset that is there.
    var firstOffset: UInt64 { index.firstOffset ?? nextOffset }
}
