internal import MessageModel
internal import StorageService

/// A topic and what stands in its partitions.
final class TopicState {
    let info: TopicInfo
    let tenant: TenantID
    let createdAt: Timestamp
    var policy: TopicPolicy
    let partitions: [IndexedSequence]
    /// The cursor subscriptions that read it.
    var cursors: [SubscriptionID] = []
    /// Attached readers without a subscription.
    var readers = 0
    /// A timer is set for this time, to look at what it may let go.
    var trimAt = Timestamp.never

    init(info: TopicInfo, tenant: TenantID, createdAt: Timestamp, policy: TopicPolicy) {
        self.info = info
        self.policy = policy
        self.tenant = tenant
        self.createdAt = createdAt
        partitions = (0..<info.partitions).map { index in
            IndexedSequence(.partition(PartitionID(topic: info.id, index: UInt16(index))))
        }
        for partition in partitions { partition.topic = self }
    }
}
