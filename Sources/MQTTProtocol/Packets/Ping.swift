package import NIOCore

/// PINGREQ and PINGRESP: two bytes each, without content (MQTT 5.0 §3.12, §3.13).
package enum PingPacket {
    package static func validate(_ header: PacketHeader) throws(MQTTProtocolError) {
        guard header.remainingLength == 0 else { throw .trailingBytes }
    }

    package static func encodeRequest(into buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt16(PacketType.pingreq.rawValue) << 12)
    }

    package static func encodeResponse(into buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt16(PacketType.pingresp.rawValue) << 12)
    }
}
