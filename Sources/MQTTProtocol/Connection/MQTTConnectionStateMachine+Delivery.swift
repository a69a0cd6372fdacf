package import NIOCore

// Messages to the client and its answers (MQTT 5.0 §4.3, §4.9).
extension MQTTConnectionStateMachine {
    /// Whether the client takes another QoS 1 message now. QoS 0 is not counted.
    package var canSend: Bool { phase == .connected && window.hasRoom }

    /// QoS 1 messages sent and not acknowledged.
    package var inFlightCount: Int { window.openCount }

    /// The tokens of the messages in flight, in the order they were sent: what is to be sent again elsewhere when
    /// the connection is gone.
    package var inFlightTokens: [UInt64] { window.openTokens }

    /// Whether the client takes a packet of this size.
    package func fits(packetSize: Int) -> Bool {
        packetSize <= client.maximumPacketSize
    }

    /// Asks to send a packet that is encoded already, once for several clients; patch in the identifier that comes
    /// back (`EncodedPublish.setPacketIdentifier`).
    ///
    /// - Parameter token: comes back in `MQTTAction.acknowledged`; anything but `UInt64.max`. Unused for QoS 0.
    package mutating func admitDelivery(qos: QoS, packetSize: Int, token: UInt64) -> DeliveryAdmission {
        guard phase == .connected else { return .notConnected }
        guard fits(packetSize: packetSize) else { return .tooLarge }
        switch qos {
        case .atMostOnce:
            return .admitted(packetIdentifier: 0)
        case .atLeastOnce, .exactlyOnce:
            guard let identifier = window.open(token: token) else { return .windowFull }
            return .admitted(packetIdentifier: identifier)
        }
    }

    /// Sends one message to this client: encodes it with a fresh packet identifier and in the client's version.
    ///
    /// - Parameter token: as in `admitDelivery`.
    package mutating func send(
        _ message: OutboundPublish,
        token: UInt64,
        output: inout ByteBuffer
    ) -> DeliveryAdmission {
        var message = message
        message.version = version
        message.qos = min(message.qos, options.maximumQoS)
        guard let sizes = message.sizes else { return .tooLarge }
        let admission = admitDelivery(qos: message.qos, packetSize: sizes.packet, token: token)
        if case .admitted(let identifier) = admission {
            message.packetIdentifier = identifier
            message.encode(sizes, includingPayload: true, into: &output)
        }
        return admission
    }

    /// Takes one PUBACK, PUBREC, PUBREL or PUBCOMP: the short way, as `receivedPublish` is for PUBLISH.
    ///
    /// - Parameters:
    ///   - header: as `nextPacket` returned it.
    ///   - bytes: the packet from its first byte on; may extend beyond it.
    package mutating func receivedAcknowledgement(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        nowMilliseconds: Int64,
        output: inout ByteBuffer
    ) -> AcknowledgementDecision {
        guard phase == .connected else { return .close(violated(.unexpectedPacket, &output)) }
        lastPacketMilliseconds = nowMilliseconds
        do throws(MQTTProtocolError) {
            return try receivedAcknowledgement(header, bytes, &output)
        } catch {
            return .close(violated(error, &output))
        }
    }

    private mutating func receivedAcknowledgement(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        _ output: inout ByteBuffer
    ) throws(MQTTProtocolError) -> AcknowledgementDecision {
        let packet = try AcknowledgementPacket.decode(header, bytes, context: context)
        switch packet.type {
        case .puback:
            // An identifier that is not open is the echo of an earlier life of the session: nothing to do.
            guard let token = window.close(packet.packetIdentifier) else { return .none }
            return .acknowledged(token: token, reason: packet.reason)
        case .pubrec:
            // Nothing was sent with QoS 2: a known identifier is the wrong answer, an unknown one is told so.
            if window.isOpen(packet.packetIdentifier) { throw .unexpectedPacket }
            if !packet.reason.isFailure { answerUnknown(packet, with: .pubrel, &output) }
            return .none
        case .pubrel:
            // Nothing was received with QoS 2.
            answerUnknown(packet, with: .pubcomp, &output)
            return .none
        case .pubcomp:
            return .none
        case .connect, .connack, .publish, .subscribe, .suback, .unsubscribe, .unsuback, .pingreq, .pingresp,
            .disconnect, .auth:
            throw .unexpectedPacket
        }
    }

    private func answerUnknown(
        _ packet: AcknowledgementPacket,
        with type: PacketType,
        _ output: inout ByteBuffer
    ) {
        AcknowledgementPacket(
            type: type,
            packetIdentifier: packet.packetIdentifier,
            reason: .packetIdentifierNotFound
        ).encode(into: &output, version: version)
    }
}
