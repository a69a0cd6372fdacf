internal import MessageModel
internal import StorageService

/// A durable, named reader whose progress is a position in each partition of its topic.
final class CursorSubscription {
    let id: SubscriptionID
    let name: String
    let tenant: TenantID
    let topic: TopicID
    let createdAt: Timestamp
    /// For each partition: everything before this offset is done.
    var acknowledged: [UInt64]
    /// The reader that has it now.
    weak var reader: Attachment?

    init(
        id: SubscriptionID,
        name: String,
        tenant: TenantID,
        topic: TopicID,
        createdAt: Timestamp,
        acknowledged: [UInt64]
    ) {
        self.id = id
        self.name = name
        self.tenant = tenant
        self.topic = topic
        self.createdAt = createdAt
        self.acknowledged = acknowledged
    }
}
