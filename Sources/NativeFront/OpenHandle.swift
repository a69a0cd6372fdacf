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

/// A reader or consumer that a connection has attached.
final class SubscriptionHandle {
    let handle: UInt32
    /// Nil for a consumer of an inbox.
    let topic: TopicInfo?
    /// The name of the subscription; empty for a reader without one.
    let name: String
    /// Messages are leased to it.
    let isConsumer: Bool
    var credit: CreditLedger
    /// It is in the list of those whose credit is to be looked at when the round ends.
    var isCreditDue = false
    /// The topics whose names the client was told, the latest that had a message last.
    var namedTopics: [TopicID]

    init(handle: UInt32, topic: TopicInfo?, name: String, isConsumer: Bool, credit: CreditLedger) {
        self.handle = handle
        self.topic = topic
        self.name = name
        self.isConsumer = isConsumer
        self.credit = credit
        namedTopics = topic.map { [$0.id] } ?? []
    }

    /// Notes that a topic has a message; true where the client does not know its name.
    func isNew(_ topic: TopicID) -> Bool {
        if namedTopics.last == topic { return false }
        if let place = namedTopics.firstIndex(of: topic) {
            namedTopics.swapAt(place, namedTopics.count - 1)
            return false
        }
        // Who reads more topics than this is told some of them again.
        if namedTopics.count >= Self.mostNamedTopics { namedTopics.removeAll(keepingCapacity: true) }
        namedTopics.append(topic)
        return true
    }

    private static let mostNamedTopics = 256
}

/// What a client that subscribes asked for, until it is attached.
struct SubscribeIntent {
    var request: SubscribeRequest
    var topic: TopicInfo?
    var filter: [UInt8]
    /// Made where there is none; taken when that was tried.
    var creation: SubscriptionSpecification?
}

/// What is needed to answer a request when storage has done its part.
enum RequestContext {
    case plain
    case openProducer(ResolvedProducer)
    case subscribe(SubscribeIntent)
    case fetch(TopicInfo)
    /// A settlement of leases, which is answered without results.
    case settlement
    /// The opcode's answer has its own form.
    case finding(Opcode)
}

/// Where a producer that is being opened produces to.
struct ResolvedProducer {
    var topic: TopicInfo
    var routingKey: [UInt8]?
    var isAbsolute: Bool
}
