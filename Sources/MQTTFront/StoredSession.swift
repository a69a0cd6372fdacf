internal import Credentials
internal import MQTTProtocol
internal import MessageModel
internal import NIOCore
internal import StorageService

/// What a session keeps with its inbox, so that it outlives connections and the server: values under numbers whose
/// highest byte says what they are.
enum SessionKey {
    enum Kind: UInt64 {
        /// The will.
        case will = 1
        /// A filter, by its number.
        case filter = 2
        /// A QoS 2 message of the client that was received and not released, by its packet identifier.
        case received = 3
        /// A QoS 2 message that the client has, by its sequence in the inbox: PUBREC came, PUBCOMP did not.
        case confirmed = 4
        /// In the state of a group: a member that has a stored session.
        case member = 5
        /// Last values that came into the inbox with a subscription: the first sequence; the value is their count u32.
        case retained = 6
        /// The identifier of a client whose inbox has no room for it in its name.
        case client = 7
        /// A message in flight under another packet identifier than its sequence gives, by that sequence; the value is the
        /// identifier u16.
        case identifier = 8
        /// A message that came from a group, by its sequence; the value is the number of the group's filter u32.
        case shared = 9
    }

    static let will = key(.will, 0)
    static func filter(_ id: UInt32) -> UInt64 { key(.filter, UInt64(id)) }
    static func received(_ packetIdentifier: UInt16) -> UInt64 { key(.received, UInt64(packetIdentifier)) }
    static func confirmed(_ sequence: UInt64) -> UInt64 { key(.confirmed, sequence) }

    static let client = key(.client, 0)
    static func identifier(_ sequence: UInt64) -> UInt64 { key(.identifier, sequence) }
    static func shared(_ sequence: UInt64) -> UInt64 { key(.shared, sequence) }
    static func retained(_ first: UInt64) -> UInt64 { key(.retained, first) }
    static func member(_ client: MQTTString) -> UInt64 {
        // FNV-1a: the same in every process. Two members with one hash would at worst end their group early.
        key(.member, client.bytes.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 })
    }

    private static func key(_ kind: Kind, _ number: UInt64) -> UInt64 { kind.rawValue << 56 | number & numbers }
    private static let numbers: UInt64 = 1 << 56 - 1

    static func split(_ key: UInt64) -> (kind: Kind, number: UInt64)? {
        Kind(rawValue: key >> 56).map { ($0, key & numbers) }
    }

    /// What the inboxes of sessions are called.
    static let prefix = "$mqtt/"
    /// What those are called whose clients have identifiers that are too long for a name: a hash of it stands behind.
    static let longPrefix = "$mqtt.long/"
    /// Longer identifiers do not fit into a name.
    static let clientBytes = Limits.subscriptionNameBytes - prefix.utf8.count

    static func inboxName(_ client: MQTTString) -> String {
        guard client.bytes.count > clientBytes else { return prefix + client.description }
        let digits = Digest.sha256(client.bytes).map { byte in
            (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
        return longPrefix + digits.joined()
    }
}

/// A filter that the client subscribed to.
struct Subscription {
    var filter: TopicFilter
    var qos: QoS
    var isNoLocal: Bool
    var retainsAsPublished: Bool
    var identifier: UInt32?
    /// Of a shared subscription: the attachment to its group.
    var attachment: UInt32 = 0

    /// Messages for it wait in the inbox of a stored session.
    var isBound: Bool { qos != .atMostOnce && !filter.isShared }

    init(_ request: SubscriptionRequest, qos: QoS, identifier: UInt32?) {
        filter = request.filter
        self.qos = qos
        isNoLocal = request.isNoLocal
        retainsAsPublished = request.retainsAsPublished
        self.identifier = identifier
    }

    private static let layout: UInt8 = 1
    private static let noLocal: UInt8 = 0x04
    private static let retainAsPublished: UInt8 = 0x08

    /// Layout u8, options u8 (QoS, no-local 0x04, retain as published 0x08), identifier u32 (zero for none), the filter.
    var encoded: [UInt8] {
        let options = qos.rawValue | (isNoLocal ? Self.noLocal : 0) | (retainsAsPublished ? Self.retainAsPublished : 0)
        var bytes = [Self.layout, options]
        withUnsafeBytes(of: (identifier ?? 0).littleEndian) { bytes.append(contentsOf: $0) }
        return bytes + filter.text.bytes
    }

    init?(encoded bytes: [UInt8], limits: MQTTLimits) {
        guard bytes.count > 6, bytes[0] == Self.layout, let qos = QoS(rawValue: bytes[1] & 0x03),
            let filter = try? TopicFilter(MQTTString(Array(bytes[6...])), limits: limits)
        else { return nil }
        let identifier = UInt32(bytes[2]) | UInt32(bytes[3]) << 8 | UInt32(bytes[4]) << 16 | UInt32(bytes[5]) << 24
        self.filter = filter
        self.qos = qos
        isNoLocal = bytes[1] & Self.noLocal != 0
        retainsAsPublished = bytes[1] & Self.retainAsPublished != 0
        self.identifier = identifier == 0 ? nil : identifier
    }
}

/// A will as a stored session keeps it.
struct StoredWill {
    var client: MQTTString
    var will: Will
    /// Where it waits for its time; nil while the client is connected.
    var scheduled: ScheduledID?

    private static let layout: UInt8 = 1

    /// Layout u8, whether it is scheduled u8, position u64, record u32, then a CONNECT of 5.0 with client and will.
    var encoded: [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeInteger(Self.layout)
        buffer.writeInteger(scheduled == nil ? 0 : 1, as: UInt8.self)
        buffer.writeInteger(scheduled?.position.rawValue ?? 0)
        buffer.writeInteger(scheduled?.record ?? 0)
        ConnectPacket(version: .v5, clientIdentifier: client, will: will).encode(into: &buffer)
        return Array(buffer.readableBytesView)
    }

    init(client: MQTTString, will: Will) {
        self.client = client
        self.will = will
    }

    init?(encoded bytes: [UInt8]) {
        var buffer = ByteBuffer(bytes: bytes)
        guard buffer.readInteger(as: UInt8.self) == Self.layout, let isScheduled = buffer.readInteger(as: UInt8.self),
            let position = buffer.readInteger(as: UInt64.self), let record = buffer.readInteger(as: UInt32.self)
        else { return nil }
        var limits = MQTTLimits()
        limits.maximumTopicLength = Int(UInt16.max)
        limits.maximumUserProperties = .max
        let connect = buffer.withUnsafeReadableBytes { ConnectPacket(whole: $0, limits: limits) }
        guard let connect, let will = connect.will else { return nil }
        client = connect.clientIdentifier
        self.will = will
        if isScheduled == 1 {
            scheduled = ScheduledID(position: LogPosition(rawValue: position), record: record)
        }
    }
}
