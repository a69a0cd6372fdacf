/// Any packet, decoded: for clients, tests and tools. A server's hot path decodes by type instead.
package enum ControlPacket: Sendable, Hashable {
    case connect(ConnectPacket)
    case connack(ConnackPacket)
    case publish(PublishView)
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    case acknowledgement(AcknowledgementPacket)
    case subscribe(SubscribePacket)
    case suback(SubackPacket)
    case unsubscribe(UnsubscribePacket)
    case unsuback(UnsubackPacket)
    case pingreq
    case pingresp
    case disconnect(DisconnectPacket)
    case auth(AuthPacket)

    /// Decodes the packet that `header` describes, at the beginning of `bytes`.
    package static func decode(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        context: DecodingContext
    ) throws(MQTTProtocolError) -> ControlPacket {
        switch header.type {
        case .connect: return .connect(try ConnectPacket.decode(header, bytes, limits: context.limits))
        case .connack: return .connack(try ConnackPacket.decode(header, bytes, context: context))
        case .publish: return .publish(try PublishView.decode(header, bytes, context: context))
        case .puback, .pubrec, .pubrel, .pubcomp:
            return .acknowledgement(try AcknowledgementPacket.decode(header, bytes, context: context))
        case .subscribe: return .subscribe(try SubscribePacket.decode(header, bytes, context: context))
        case .suback: return .suback(try SubackPacket.decode(header, bytes, context: context))
        case .unsubscribe: return .unsubscribe(try UnsubscribePacket.decode(header, bytes, context: context))
        case .unsuback: return .unsuback(try UnsubackPacket.decode(header, bytes, context: context))
        case .pingreq:
            try PingPacket.validate(header)
            return .pingreq
        case .pingresp:
            try PingPacket.validate(header)
            return .pingresp
        case .disconnect: return .disconnect(try DisconnectPacket.decode(header, bytes, context: context))
        case .auth: return .auth(try AuthPacket.decode(header, bytes, context: context))
        }
    }
}
