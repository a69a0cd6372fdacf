/// The properties of class basic; the raw value is the bit of the property flags, the order on the wire is from the
/// highest to the lowest (AMQP 0-9-1 §4.2.6.1).
package enum BasicProperty: UInt8, Sendable, Hashable, CaseIterable {
    case contentType = 15
    case contentEncoding = 14
    case headers = 13
    case deliveryMode = 12
    case priority = 11
    case correlationID = 10
    case replyTo = 9
    /// Milliseconds as decimal digits in a string.
    case expiration = 8
    case messageID = 7
    /// Seconds since 1970.
    case timestamp = 6
    case type = 5
    case userID = 4
    case appID = 3
    /// Deprecated, and passed on.
    case clusterID = 2

    package var flag: UInt16 { 1 << UInt16(rawValue) }

    enum Kind { case shortString, table, octet, timestamp }

    var kind: Kind {
        switch self {
        case .headers: .table
        case .deliveryMode, .priority: .octet
        case .timestamp: .timestamp
        case .contentType, .contentEncoding, .correlationID, .replyTo, .expiration, .messageID, .type, .userID, .appID,
            .clusterID:
            .shortString
        }
    }

    /// Flags that no property has; the lowest would announce more flags, of which there are none.
    static let unknownFlags: UInt16 = 0b11
}
