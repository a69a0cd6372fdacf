/// A name in a selector that stands for something else than a user property.
///
/// Written without quotes these names always mean this; `"TAGS"` in double quotes is a user property. Times are
/// milliseconds since 1970, as message selectors have them (Jakarta Messaging 3.1 §3.8.1.3).
package enum SelectorField: UInt8, CaseIterable, Sendable {
    case tags
    case keys
    case name
    case routingKey
    case orderingKey
    case messageID
    case correlationID
    case replyTo
    case contentType
    case origin
    case priority
    case size
    case time
    case born
    case expiresAt
    case deliverAt
    case retained

    package enum Kind: Sendable {
        case text
        case number
        case boolean
    }

    /// As it is written in a selector.
    package var name: StaticString {
        switch self {
        case .tags: "TAGS"
        case .keys: "KEYS"
        case .name: "_name"
        case .routingKey: "_routing_key"
        case .orderingKey: "_ordering_key"
        case .messageID: "_message_id"
        case .correlationID: "_correlation_id"
        case .replyTo: "_reply_to"
        case .contentType: "_content_type"
        case .origin: "_origin"
        case .priority: "_priority"
        case .size: "_size"
        case .time: "_time"
        case .born: "_born"
        case .expiresAt: "_expires_at"
        case .deliverAt: "_deliver_at"
        case .retained: "_retained"
        }
    }

    package var kind: Kind {
        switch self {
        case .tags, .keys, .name, .routingKey, .orderingKey, .messageID, .correlationID, .replyTo, .contentType,
            .origin:
            .text
        case .priority, .size, .time, .born, .expiresAt, .deliverAt: .number
        case .retained: .boolean
        }
    }

    /// The field with this name; nil where a user property is meant.
    init?(named name: UnsafeRawBufferPointer) {
        for field in Self.allCases where name.elementsEqual(UnsafeRawBufferPointer(field.name.bytes)) {
            self = field
            return
        }
        return nil
    }

    /// The property that it is read from; nil where it is read from elsewhere.
    var property: PropertyID? {
        switch self {
        case .tags: .tag
        case .keys: .key
        case .messageID: .messageID
        case .correlationID: .correlationID
        case .replyTo: .replyTo
        case .contentType: .contentType
        case .origin: .origin
        case .priority: .priority
        case .expiresAt: .expiry
        case .deliverAt: .deliverAt
        case .name, .routingKey, .orderingKey, .size, .time, .born, .retained: nil
        }
    }
}

extension StaticString {
    var bytes: UnsafeBufferPointer<UInt8> { UnsafeBufferPointer(start: utf8Start, count: utf8CodeUnitCount) }
}

extension OriginFront {
    /// As the HTTP interface and selectors write it.
    var name: StaticString {
        switch self {
        case .native: "native"
        case .mqtt: "mqtt"
        case .amqp: "amqp"
        case .http: "http"
        }
    }
}
