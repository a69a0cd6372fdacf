import AdminConsole
import SluiceClient

extension ShownMessage {
    init(_ message: Message) {
        self.init(
            topic: message.topic,
            name: message.name,
            partition: message.partition,
            offset: message.offset,
            storedAt: message.storedAt,
            body: message.body
        )
        bornAt = message.bornAt
        orderingKey = message.orderingKey
        let properties = message.properties
        contentType = properties.contentType
        correlationID = properties.correlationID
        replyTo = properties.replyTo
        messageID = properties.messageID
        tag = properties.tag
        keys = properties.keys
        headers = properties.user.map { Header(name: $0.name, value: $0.value) }
    }
}

extension StartingPoint {
    init(_ text: StartText) {
        switch text {
        case .first: self = .first
        case .next: self = .next
        case .offset(let offset): self = .offset(offset)
        case .time(let microseconds): self = .time(microseconds)
        case .ago(let microseconds):
            let now = WallClock.microseconds()
            self = .time(now - min(now, microseconds))
        }
    }
}
