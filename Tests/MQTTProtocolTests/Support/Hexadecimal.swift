import NIOCore

@testable import MQTTProtocol

/// Bytes written as in the specification: `hex("10 0C 00 04") + text`.
func hex(_ text: String) -> [UInt8] {
    text.split(separator: " ").map { UInt8($0, radix: 16) ?? 0 }
}

func hexText(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { byte in
        let digits = String(byte, radix: 16, uppercase: true)
        return digits.count == 1 ? "0" + digits : digits
    }.joined(separator: " ")
}

/// What an encoder wrote.
func written(_ encode: (inout ByteBuffer) -> Void) -> [UInt8] {
    var buffer = ByteBuffer()
    encode(&buffer)
    return Array(buffer.readableBytesView)
}

func frame(_ bytes: [UInt8], version: ProtocolVersion? = .v5, maximum: Int = 1 << 20) -> PacketFramer.Result {
    bytes.withUnsafeBytes { PacketFramer(maximumPacketSize: maximum, version: version).next($0) }
}

/// Frames and decodes one packet that the bytes must hold completely.
func decode(
    _ bytes: [UInt8],
    _ version: ProtocolVersion = .v5,
    from sender: Peer = .client,
    limits: MQTTLimits = MQTTLimits()
) throws(MQTTProtocolError) -> ControlPacket {
    let context = DecodingContext(version: version, sender: sender, limits: limits)
    let result: Result<ControlPacket, MQTTProtocolError> = bytes.withUnsafeBytes { raw in
        switch PacketFramer(maximumPacketSize: 1 << 20, version: version).next(raw) {
        case .packet(let header):
            return Result { () throws(MQTTProtocolError) in
                try ControlPacket.decode(header, raw, context: context)
            }
        case .needMore: return .failure(.truncatedPacket)
        case .invalid(let error): return .failure(error)
        }
    }
    return try result.get()
}

/// A packet with a given first byte and body; the remaining length is computed.
func packet(_ first: UInt8, _ body: [UInt8]) -> [UInt8] {
    var writer = PacketWriter()
    writer.write(first)
    writer.writeVariableByteInteger(UInt32(body.count))
    writer.writeRaw(body)
    return writer.bytes
}

/// A string with its two-byte length.
func text(_ string: String) -> [UInt8] {
    var writer = PacketWriter()
    writer.write(MQTTString(string))
    return writer.bytes
}

func filter(_ text: String) throws -> TopicFilter {
    try TopicFilter(MQTTString(text))
}
