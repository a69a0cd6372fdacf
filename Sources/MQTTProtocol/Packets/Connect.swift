package import NIOCore

/// CONNECT (MQTT 5.0 §3.1; 3.1.1 §3.1).
package struct ConnectPacket: Sendable, Hashable {
    package var version: ProtocolVersion
    /// Clean Start in 5.0, Clean Session in 3.x.
    package var cleanStart: Bool
    /// Zero switches the keep alive off.
    package var keepAliveSeconds: UInt16
    /// Empty when the server is to assign one.
    package var clientIdentifier: MQTTString
    package var will: Will?
    package var userName: MQTTString?
    package var password: [UInt8]?
    package var properties: ConnectProperties

    package init(
        version: ProtocolVersion = .v5,
        clientIdentifier: MQTTString,
        cleanStart: Bool = true,
        keepAliveSeconds: UInt16 = 60,
        will: Will? = nil,
        userName: MQTTString? = nil,
        password: [UInt8]? = nil,
        properties: ConnectProperties = ConnectProperties()
    ) {
        self.version = version
        self.cleanStart = cleanStart
        self.keepAliveSeconds = keepAliveSeconds
        self.clientIdentifier = clientIdentifier
        self.will = will
        self.userName = userName
        self.password = password
        self.properties = properties
    }
}

/// The message a server publishes when a client goes without saying so (MQTT 5.0 §3.1.2.5).
package struct Will: Sendable, Hashable {
    package var topic: MQTTString
    package var payload: [UInt8]
    package var qos: QoS
    package var retain: Bool
    package var delaySeconds: UInt32
    /// Properties of the message itself; `topicAlias` and `subscriptionIdentifiers` stay empty.
    package var properties: PublishProperties

    package init(
        topic: MQTTString,
        payload: [UInt8],
        qos: QoS = .atMostOnce,
        retain: Bool = false,
        delaySeconds: UInt32 = 0,
        properties: PublishProperties = PublishProperties()
    ) {
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.delaySeconds = delaySeconds
        self.properties = properties
    }
}

/// The properties of CONNECT, at their defaults when absent (MQTT 5.0 §3.1.2.11).
package struct ConnectProperties: Sendable, Hashable {
    package var sessionExpirySeconds: UInt32 = 0
    package var receiveMaximum: UInt16 = .max
    /// In bytes; nil is no limit beyond that of the protocol.
    package var maximumPacketSize: UInt32?
    package var topicAliasMaximum: UInt16 = 0
    package var requestsResponseInformation = false
    package var requestsProblemInformation = true
    package var authenticationMethod: MQTTString?
    package var authenticationData: [UInt8]?
    package var userProperties: [UserProperty] = []

    package init() {}
}

private enum ConnectFlag {
    static let reserved: UInt8 = 0x01
    static let cleanStart: UInt8 = 0x02
    static let will: UInt8 = 0x04
    static let willQoSShift: UInt8 = 3
    static let willRetain: UInt8 = 0x20
    static let password: UInt8 = 0x40
    static let userName: UInt8 = 0x80
    /// Everything that only has a meaning together with `will`.
    static let willDetails: UInt8 = 0x38
}

extension ConnectPacket {
    /// The protocol level of a CONNECT whose protocol name is one of MQTT's; nil when it is something else. Lets a
    /// server choose the form of its refusal even when the rest cannot be decoded.
    package static func protocolLevel(_ header: PacketHeader, _ bytes: UnsafeRawBufferPointer) -> UInt8? {
        guard var reader = try? ByteReader(body: header, of: bytes), let name = try? reader.takeLengthPrefixed(),
            reader.slice(name).elementsEqual(ProtocolVersion.v5.protocolName.bytes)
                || reader.slice(name).elementsEqual(ProtocolVersion.v3_1.protocolName.bytes)
        else { return nil }
        return try? reader.readUInt8()
    }

    package static func decode(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        limits: MQTTLimits
    ) throws(MQTTProtocolError) -> ConnectPacket {
        var reader = try ByteReader(body: header, of: bytes)
        let name = MQTTString(reader.slice(try reader.takeLengthPrefixed()))
        guard name == ProtocolVersion.v5.protocolName || name == ProtocolVersion.v3_1.protocolName else {
            throw .unknownProtocolName
        }
        guard let version = ProtocolVersion(rawValue: try reader.readUInt8()), version.protocolName == name else {
            throw .unsupportedProtocolVersion
        }
        if version.hasProperties, !header.isMinimal { throw .malformedRemainingLength }
        let flags = try reader.readUInt8()
        let willQoS = try validate(flags, version)
        var packet = ConnectPacket(version: version, clientIdentifier: MQTTString([]))
        packet.cleanStart = flags & ConnectFlag.cleanStart != 0
        packet.keepAliveSeconds = try reader.readUInt16()
        if version.hasProperties { packet.properties = try ConnectProperties(decoding: &reader, limits: limits) }
        packet.clientIdentifier = try reader.readString(.name)
        if flags & ConnectFlag.will != 0 {
            packet.will = try Will(decoding: &reader, version: version, limits: limits)
            packet.will?.qos = willQoS
            packet.will?.retain = flags & ConnectFlag.willRetain != 0
        }
        // MQTT 3.1 lets the remaining length overrule the user name and password flags.
        let mayBeMissing = version == .v3_1
        if flags & ConnectFlag.userName != 0, !(mayBeMissing && reader.isAtEnd) {
            packet.userName = try reader.readString(.name)
        }
        if flags & ConnectFlag.password != 0, !(mayBeMissing && reader.isAtEnd) {
            packet.password = try reader.readBinary()
        }
        try reader.expectEnd()
        return packet
    }

    private static func validate(_ flags: UInt8, _ version: ProtocolVersion) throws(MQTTProtocolError) -> QoS {
        if flags & ConnectFlag.reserved != 0, version != .v3_1 { throw .reservedBitsSet }
        if flags & ConnectFlag.will == 0, flags & ConnectFlag.willDetails != 0 { throw .invalidConnectFlags }
        if flags & ConnectFlag.password != 0, flags & ConnectFlag.userName == 0, version != .v5 {
            throw .invalidConnectFlags
        }
        guard let willQoS = QoS(rawValue: flags >> ConnectFlag.willQoSShift & 0b11) else { throw .invalidQoS }
        return willQoS
    }

    /// Appends the packet.
    ///
    /// - Returns: false, with nothing written, when a field is longer than the protocol can say.
    @discardableResult
    package func encode(into buffer: inout ByteBuffer) -> Bool {
        var writer = PacketWriter()
        writer.write(version.protocolName)
        writer.write(version.rawValue)
        var flags: UInt8 = cleanStart ? ConnectFlag.cleanStart : 0
        if let will {
            flags |= ConnectFlag.will | will.qos.rawValue << ConnectFlag.willQoSShift
            if will.retain { flags |= ConnectFlag.willRetain }
        }
        if userName != nil { flags |= ConnectFlag.userName }
        if password != nil { flags |= ConnectFlag.password }
        writer.write(flags)
        writer.write(keepAliveSeconds)
        if version.hasProperties { writer.writeProperties(properties.write) }
        writer.write(clientIdentifier)
        will?.write(to: &writer, version: version)
        if let userName { writer.write(userName) }
        if let password { writer.writeBinary(password) }
        return writer.finish(.connect, into: &buffer, maximumPacketSize: .max)
    }
}

extension ConnectProperties {
    init(decoding reader: inout ByteReader, limits: MQTTLimits) throws(MQTTProtocolError) {
        self.init()
        var section = try PropertyReader(&reader, allowed: .connect)
        while let property = try section.next() {
            switch property.identifier {
            case .sessionExpiryInterval: sessionExpirySeconds = property.integer
            case .receiveMaximum: receiveMaximum = UInt16(truncatingIfNeeded: property.integer)
            case .maximumPacketSize: maximumPacketSize = property.integer
            case .topicAliasMaximum: topicAliasMaximum = UInt16(truncatingIfNeeded: property.integer)
            case .requestResponseInformation: requestsResponseInformation = property.integer == 1
            case .requestProblemInformation: requestsProblemInformation = property.integer == 1
            case .authenticationMethod: authenticationMethod = section.string(property)
            case .authenticationData: authenticationData = section.binary(property)
            case .userProperty: try section.append(property, to: &userProperties, limits: limits)
            default: throw .propertyNotAllowed
            }
        }
        if authenticationData != nil, authenticationMethod == nil { throw .authenticationDataWithoutMethod }
    }

    func write(_ writer: inout PropertyWriter) {
        writer.write(.sessionExpiryInterval, sessionExpirySeconds == 0 ? nil : sessionExpirySeconds)
        writer.write(.receiveMaximum, receiveMaximum == .max ? nil : receiveMaximum)
        writer.write(.maximumPacketSize, maximumPacketSize)
        writer.write(.topicAliasMaximum, topicAliasMaximum == 0 ? nil : topicAliasMaximum)
        writer.write(.requestResponseInformation, byte: requestsResponseInformation ? 1 : nil)
        writer.write(.requestProblemInformation, byte: requestsProblemInformation ? nil : 0)
        writer.write(.authenticationMethod, authenticationMethod)
        writer.write(.authenticationData, binary: authenticationData)
        writer.write(userProperties)
    }
}

extension Will {
    fileprivate init(
        decoding reader: inout ByteReader,
        version: ProtocolVersion,
        limits: MQTTLimits
    ) throws(MQTTProtocolError) {
        self.init(topic: MQTTString([]), payload: [])
        if version.hasProperties {
            var section = try PropertyReader(&reader, allowed: .will)
            while let property = try section.next() {
                if property.identifier == .willDelayInterval {
                    delaySeconds = property.integer
                } else {
                    try properties.set(property, from: section, limits: limits)
                }
            }
        }
        let name = reader.slice(try reader.takeLengthPrefixed())
        try TopicName.validate(name, limits: limits)
        topic = MQTTString(name)
        payload = try reader.readBinary()
    }

    fileprivate func write(to writer: inout PacketWriter, version: ProtocolVersion) {
        if version.hasProperties {
            writer.writeProperties { section in
                section.write(.willDelayInterval, delaySeconds == 0 ? nil : delaySeconds)
                properties.write(&section)
            }
        }
        writer.write(topic)
        writer.writeBinary(payload)
    }
}
