import NIOCore

/// Builds the body of a packet that is not on the hot path, and writes it behind its fixed header.
struct PacketWriter {
    private(set) var bytes: [UInt8] = []
    /// A string or section was longer than its length field can say: the packet cannot be sent at all.
    private(set) var isOverlong = false

    mutating func write(_ value: UInt8) {
        bytes.append(value)
    }

    mutating func write(_ value: UInt16) {
        bytes.append(UInt8(truncatingIfNeeded: value >> 8))
        bytes.append(UInt8(truncatingIfNeeded: value))
    }

    mutating func write(_ value: UInt32) {
        write(UInt16(truncatingIfNeeded: value >> 16))
        write(UInt16(truncatingIfNeeded: value))
    }

    mutating func writeVariableByteInteger(_ value: UInt32) {
        if value > VariableByteInteger.maximum { isOverlong = true }
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    mutating func write(_ string: MQTTString) {
        writeBinary(string.bytes)
    }

    mutating func writeBinary(_ binary: some Collection<UInt8>) {
        guard let count = UInt16(exactly: binary.count) else {
            isOverlong = true
            return
        }
        write(count)
        bytes.append(contentsOf: binary)
    }

    mutating func writeRaw(_ raw: some Sequence<UInt8>) {
        bytes.append(contentsOf: raw)
    }

    /// Writes a property section with its length.
    mutating func writeProperties(_ content: (inout PropertyWriter) -> Void) {
        var properties = PropertyWriter()
        content(&properties)
        let section = properties.section
        if section.isOverlong || section.bytes.count > Int(VariableByteInteger.maximum) { isOverlong = true }
        writeVariableByteInteger(UInt32(truncatingIfNeeded: section.bytes.count))
        bytes.append(contentsOf: section.bytes)
    }

    /// Appends the whole packet to `buffer`.
    ///
    /// - Returns: false, with nothing written, when it is greater than `maximumPacketSize` or than MQTT can say.
    func finish(
        _ type: PacketType,
        flags: UInt8? = nil,
        into buffer: inout ByteBuffer,
        maximumPacketSize: Int
    ) -> Bool {
        guard !isOverlong, bytes.count <= Int(VariableByteInteger.maximum) else { return false }
        let length = UInt32(bytes.count)
        guard 1 + VariableByteInteger.size(length) + bytes.count <= maximumPacketSize else { return false }
        var header = PacketWriter()
        header.write(type.rawValue << 4 | (flags ?? type.requiredFlags))
        header.writeVariableByteInteger(length)
        buffer.writeBytes(header.bytes)
        buffer.writeBytes(bytes)
        return true
    }
}

/// Writes properties one after the other; those with no value are left out.
struct PropertyWriter {
    fileprivate(set) var section = PacketWriter()

    mutating func write(_ identifier: PropertyIdentifier, byte value: UInt8?) {
        guard let value else { return }
        section.write(identifier.rawValue)
        section.write(value)
    }

    mutating func write(_ identifier: PropertyIdentifier, _ value: UInt16?) {
        guard let value else { return }
        section.write(identifier.rawValue)
        section.write(value)
    }

    mutating func write(_ identifier: PropertyIdentifier, _ value: UInt32?) {
        guard let value else { return }
        section.write(identifier.rawValue)
        section.write(value)
    }

    mutating func write(_ identifier: PropertyIdentifier, variable value: UInt32?) {
        guard let value else { return }
        section.write(identifier.rawValue)
        section.writeVariableByteInteger(value)
    }

    mutating func write(_ identifier: PropertyIdentifier, _ value: MQTTString?) {
        guard let value else { return }
        section.write(identifier.rawValue)
        section.write(value)
    }

    mutating func write(_ identifier: PropertyIdentifier, binary value: [UInt8]?) {
        guard let value else { return }
        section.write(identifier.rawValue)
        section.writeBinary(value)
    }

    mutating func write(_ properties: [UserProperty]) {
        for property in properties {
            section.write(PropertyIdentifier.userProperty.rawValue)
            section.write(property.name)
            section.write(property.value)
        }
    }

    mutating func write(_ diagnostics: Diagnostics) {
        write(.reasonString, diagnostics.reasonString)
        write(diagnostics.userProperties)
    }
}
