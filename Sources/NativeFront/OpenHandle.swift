internal import MessageModel
internal import NativeProtocol
internal import StorageService

/// What a handle of a connection stands for.
enum OpenHandle {
    case producer(ProducerHandle)
    case subscription(SubscriptionHandle)
    /// A closed producer of which a late refusal may still come, so that its place is not given away.
    case retired
}

/// A producer that a connection has open.
final class ProducerHandle {
    let handle: UInt32
    let topic: TopicInfo
    let producer: ProducerID
    let epoch: UInt16
    /// What records have as their routing key unless they say otherwise.
    let routingKey: [UInt8]?
    let isAbsolute: Bool
    /// Appends that storage has not answered.
    var inFlight = 0
    var isClosed = false
    /// It has asked for no acknowledgement: whether a refusal is still to come is not known.
    var hasUnanswered = false

    init(
        handle: UInt32,
        topic: TopicInfo,
        producer: ProducerID,
        epoch: UInt16,
        routingKey: [UInt8]?,
        isAbsolute: Bool
    ) {
        self.handle = handle
        self.topic = topic
        self.producer = producer
        self.epoch = epoch
        self.routingKey = routingKey
        self.isAbsolute = isAbsolute
    }
}

/// A reader that a connection has attached.
final class SubscriptionHandle {
    let handle: UInt32
    let topic: TopicInfo
    /// The name of the subscription; empty for a reader without one.
    let name: String
    var credit: CreditLedger
    /// It is in the list of those whose credit is to be looked at when the round ends.
    var isCreditDue = false

    init(handle: UInt32, topic: TopicInfo, name: String, credit: CreditLedger) {
        self.handle = handle
        self.topic = topic
        self.name = name
        self.credit = credit
    }
}

/// What is needed to answer a request when storage has done its part.
enum RequestContext {
    case plain
    case openProducer(ResolvedProducer)
    case subscribe(SubscribeRequest, topic: TopicInfo?, filter: [UInt8])
    case fetch(TopicInfo)
}

/// Where a producer that is being opened produces to.
struct ResolvedProducer {
    var topic: TopicInfo
    var routingKey: [UInt8]?
    var isAbsolute: Bool
}
