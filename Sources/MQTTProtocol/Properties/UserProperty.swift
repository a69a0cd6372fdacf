/// A name and a value that applications attach; names may repeat and order is kept (MQTT 5.0 §3.3.2.3.7).
package struct UserProperty: Sendable, Hashable {
    package var name: MQTTString
    package var value: MQTTString

    package init(_ name: MQTTString, _ value: MQTTString) {
        self.name = name
        self.value = value
    }
}

/// What a packet says for a person to read. It is the first thing left out when the packet would exceed the
/// receiver's maximum packet size (MQTT 5.0 §3.2.2.3.9).
package struct Diagnostics: Sendable, Hashable {
    package var reasonString: MQTTString?
    package var userProperties: [UserProperty]

    package init(reasonString: MQTTString? = nil, userProperties: [UserProperty] = []) {
        self.reasonString = reasonString
        self.userProperties = userProperties
    }

    package static let none = Diagnostics()

    package var isEmpty: Bool { reasonString == nil && userProperties.isEmpty }

    /// This, then less and less of it, ending with nothing: what to try until the packet fits.
    var reductions: [Diagnostics] {
        var result = [self]
        if !userProperties.isEmpty, reasonString != nil { result.append(Diagnostics(reasonString: reasonString)) }
        if !isEmpty { result.append(.none) }
        return result
    }
}

/// What the decoders of packets need to know besides the bytes.
package struct DecodingContext: Sendable {
    package var version: ProtocolVersion
    /// Who wrote the packet.
    package var sender: Peer
    package var limits: MQTTLimits

    package init(version: ProtocolVersion, sender: Peer, limits: MQTTLimits = MQTTLimits()) {
        self.version = version
        self.sender = sender
        self.limits = limits
    }
}

extension PropertyReader {
    func string(_ property: PropertyView) -> MQTTString {
        MQTTString(bytes(property.first))
    }

    func binary(_ property: PropertyView) -> [UInt8] {
        Array(bytes(property.first))
    }

    func append(
        _ property: PropertyView,
        to list: inout [UserProperty],
        limits: MQTTLimits
    ) throws(MQTTProtocolError) {
        guard list.count < limits.maximumUserProperties else { throw .tooManyUserProperties }
        list.append(UserProperty(MQTTString(bytes(property.first)), MQTTString(bytes(property.second))))
    }

    /// Reads a section that holds nothing but a reason string and user properties.
    static func diagnostics(
        _ reader: inout ByteReader,
        allowed: PropertySet,
        limits: MQTTLimits
    ) throws(MQTTProtocolError) -> Diagnostics {
        var properties = try PropertyReader(&reader, allowed: allowed)
        var result = Diagnostics.none
        while let property = try properties.next() {
            if property.identifier == .reasonString {
                result.reasonString = properties.string(property)
            } else {
                try properties.append(property, to: &result.userProperties, limits: limits)
            }
        }
        return result
    }
}
