extension ConnectPacket {
    /// Reads a CONNECT that `encode` wrote; nil where it is none, or is followed by something.
    package init?(whole bytes: UnsafeRawBufferPointer, limits: MQTTLimits) {
        let framer = PacketFramer(maximumPacketSize: Int(VariableByteInteger.maximum) + 5, version: nil)
        guard case .packet(let header) = framer.next(bytes), header.type == .connect, header.totalLength == bytes.count,
            let packet = try? ConnectPacket.decode(header, bytes, limits: limits)
        else { return nil }
        self = packet
    }
}
