package import NIOCore

// Messages to the client and its answers (MQTT 5.0 §4.3, §4.9).
extension MQTTConnectionStateMachine {
    /// Whether the client takes another QoS 1 or 2 message now. QoS 0 is not counted.
    package var canSend: Bool { phase == .connected && window.hasRoom }

    /// QoS 1 and 2 messages whose exchange is not over.
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
    /// - Parameters:
    ///   - token: comes back in `MQTTAction.acknowledged`. Unused for QoS 0.
    ///   - identifier: the packet identifier that it must have; zero for the next one. One that is open is answered as
    ///     a full window is.
    package mutating func admitDelivery(
        qos: QoS,
        packetSize: Int,
        token: UInt64,
        identifier: UInt16 = 0
    ) -> DeliveryAdmission {
        guard phase == .connected else { return .notConnected }
        guard fits(packetSize: packetSize) else { return .tooLarge }
        switch qos {
        case .atMostOnce:
            return .admitted(packetIdentifier: 0)
        case .atLeastOnce, .exactlyOnce:
            let isExactlyOnce = qos == .exactlyOnce
            guard identifier == 0 else {
                let phase = isExactlyOnce ? PacketIdentifierTable.Phase.publishedExactlyOnce : .published
                guard window.hasRoom, window.open(identifier, token: token, phase: phase) else { return .windowFull }
                return .admitted(packetIdentifier: identifier)
            }
            guard let next = window.open(token: token, isExactlyOnce: isExactlyOnce) else { return .windowFull }
            return .admitted(packetIdentifier: next)
        }
    }

    /// Sends one message to this client: encodes it with a fresh packet identifier and in the client's version.
    ///
    /// - Parameters:
    ///   - token: as in `admitDelivery`.
    ///   - identifier: as in `admitDelivery`.
    package mutating func send(
        _ message: OutboundPublish,
        token: UInt64,
        identifier: UInt16 = 0,
        output: inout ByteBuffer
    ) -> DeliveryAdmission {
        var message = message
        message.version = version
        message.qos = min(message.qos, options.maximumQoS)
        // The alias of a topic goes with the name the first time, and stands for it from then on.
        let topic = message.topicRest
        var isNewAlias = false
        if outboundAliases.maximum > 0, message.topicPrefix.isEmpty {
            if let alias = outboundAliases.alias(of: topic) {
                message.topicAlias = alias
                message.topicRest = UnsafeRawBufferPointer(start: nil, count: 0)
            } else if let alias = outboundAliases.next, !outboundAliases.isTaken(topic) {
                message.topicAlias = alias
                isNewAlias = true
            }
        }
        guard let sizes = message.sizes else { return .tooLarge }
        let admission = admitDelivery(
            qos: message.qos,
            packetSize: sizes.packet,
            token: token,
            identifier: identifier
        )
        if case .admitted(let identifier) = admission {
            if isNewAlias { outboundAliases.set(topic) }
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

    /// Takes the PUBACK, PUBREC, PUBREL or PUBCOMP at the beginning of `bytes` where it is whole and in its shortest form,
    /// as nearly all are. Otherwise nothing has happened, and it goes the usual way: `nextPacket`, then
    /// `receivedAcknowledgement`.
    ///
    /// - Parameter bytes: the received bytes that are not yet used; the packet takes the first four.
    package mutating func receivedShortAcknowledgement(
        _ bytes: UnsafeRawBufferPointer,
        nowMilliseconds: Int64,
        output: inout ByteBuffer
    ) -> AcknowledgementDecision? {
        guard phase == .connected, bytes.count >= 4, bytes[1] == 2 else { return nil }
        let type: PacketType
        switch bytes[0] {
        case 0x40: type = .puback
        case 0x50: type = .pubrec
        case 0x62: type = .pubrel
        case 0x70: type = .pubcomp
        default: return nil
        }
        let identifier = UInt16(bytes[2]) << 8 | UInt16(bytes[3])
        guard identifier != 0 else { return nil }
        lastPacketMilliseconds = nowMilliseconds
        do throws(MQTTProtocolError) {
            return try received(
                acknowledgement: AcknowledgementPacket(type: type, packetIdentifier: identifier),
                &output
            )
        } catch {
            return .close(violated(error, &output))
        }
    }

    /// Takes acknowledgements that follow each other at the beginning of `bytes`, of four bytes each, as long as nobody
    /// needs to know of them: messages without a token, and QoS 2 of sessions that are not stored. What comes then goes
    /// the usual way.
    ///
    /// - Returns: how many there were, and how many of them were answered.
    package mutating func receivedPlainAcknowledgements(
        _ bytes: UnsafeRawBufferPointer,
        nowMilliseconds: Int64,
        output: inout ByteBuffer
    ) -> (taken: Int, answered: Int) {
        guard phase == .connected else { return (0, 0) }
        let atOnce = 64
        var taken = 0
        var answered = 0
        var goesOn = true
        while goesOn, (taken &+ 1) &* 4 <= bytes.count {
            let end = min(bytes.count / 4, taken &+ atOnce)
            output.writeWithUnsafeMutableBytes(minimumWritableBytes: 4 &* atOnce) { memory in
                var cursor = OutputCursor(memory)
                while taken < end {
                    let packet = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: taken &* 4, as: UInt32.self))
                    let identifier = UInt16(truncatingIfNeeded: packet)
                    let isTaken: Bool
                    switch packet >> 16 {
                    case 0x4002: isTaken = window.closePlain(identifier, in: .published)
                    case 0x5002:
                        isTaken =
                            !isSessionStored && window.advance(identifier, from: .publishedExactlyOnce, to: .released)
                        if isTaken { cursor.write(0x6202_0000 | UInt32(identifier)) }
                    case 0x6202:
                        isTaken = !isSessionStored && exchanges.releaseAndComplete(identifier)
                        if isTaken { cursor.write(0x7002_0000 | UInt32(identifier)) }
                    case 0x7002: isTaken = window.closePlain(identifier, in: .released)
                    default: isTaken = false
                    }
                    guard isTaken else {
                        goesOn = false
                        break
                    }
                    taken &+= 1
                }
                answered &+= cursor.position / 4
                return cursor.position
            }
        }
        if taken > 0 { lastPacketMilliseconds = nowMilliseconds }
        return (taken, answered)
    }

    private mutating func receivedAcknowledgement(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        _ output: inout ByteBuffer
    ) throws(MQTTProtocolError) -> AcknowledgementDecision {
        try received(acknowledgement: try AcknowledgementPacket.decode(header, bytes, context: context), &output)
    }

    private mutating func received(
        acknowledgement packet: AcknowledgementPacket,
        _ output: inout ByteBuffer
    ) throws(MQTTProtocolError) -> AcknowledgementDecision {
        let identifier = packet.packetIdentifier
        switch packet.type {
        case .puback:
            // An identifier that is not open is the echo of an earlier life of the session: nothing to do.
            guard let entry = window.entry(identifier) else { return .none }
            guard entry.phase == .published else { throw .unexpectedPacket }
            _ = window.close(identifier)
            return .acknowledged(token: entry.token, reason: packet.reason)
        case .pubrec:
            return try received(packet, &output)
        case .pubrel:
            switch exchanges.phase(identifier) {
            case .received:
                exchanges.released(identifier)
                if isSessionStored { return .released(packetIdentifier: identifier) }
                completeRelease(identifier, output: &output)
            case .released:
                // It is being forgotten: PUBCOMP comes by itself.
                break
            case .published, .publishedExactlyOnce, nil:
                answerUnknown(packet, with: .pubcomp, &output)
            }
            return .none
        case .pubcomp:
            guard let entry = window.entry(identifier) else { return .none }
            guard entry.phase == .released else { throw .unexpectedPacket }
            _ = window.close(identifier)
            return .acknowledged(token: entry.token, reason: .success)
        case .connect, .connack, .publish, .subscribe, .suback, .unsubscribe, .unsuback, .pingreq, .pingresp,
            .disconnect, .auth:
            throw .unexpectedPacket
        }
    }

    private mutating func received(
        _ packet: AcknowledgementPacket,
        _ output: inout ByteBuffer
    ) throws(MQTTProtocolError) -> AcknowledgementDecision {
        let identifier = packet.packetIdentifier
        guard let entry = window.entry(identifier) else {
            if !packet.reason.isFailure { answerUnknown(packet, with: .pubrel, &output) }
            return .none
        }
        switch entry.phase {
        case .published:
            throw .unexpectedPacket
        case .publishedExactlyOnce:
            guard !packet.reason.isFailure else {
                _ = window.close(identifier)
                return .acknowledged(token: entry.token, reason: packet.reason)
            }
            window.setPhase(identifier, .received)
            if isSessionStored { return .received(packetIdentifier: identifier, token: entry.token) }
            release(identifier, output: &output)
        case .received:
            // PUBREL comes by itself.
            break
        case .released:
            writeRelease(identifier, &output)
        }
        return .none
    }

    /// A message that the client has will never be sent again: writes PUBREL.
    package mutating func release(_ packetIdentifier: UInt16, output: inout ByteBuffer) {
        guard phase == .connected, window.entry(packetIdentifier)?.phase == .received else { return }
        window.setPhase(packetIdentifier, .released)
        writeRelease(packetIdentifier, &output)
    }

    /// Goes on with an exchange of an earlier connection in which PUBREC was received: writes PUBREL
    /// [MQTT-4.4.0-1]. It counts as in flight also beyond the client's receive maximum.
    package mutating func resumeRelease(_ packetIdentifier: UInt16, token: UInt64, output: inout ByteBuffer) {
        guard phase == .connected, window.open(packetIdentifier, token: token, phase: .released) else { return }
        writeRelease(packetIdentifier, &output)
    }

    private func writeRelease(_ packetIdentifier: UInt16, _ output: inout ByteBuffer) {
        AcknowledgementPacket(type: .pubrel, packetIdentifier: packetIdentifier)
            .encode(into: &output, version: version)
    }

    private func answerUnknown(
        _ packet: AcknowledgementPacket,
        with type: PacketType,
        _ output: inout ByteBuffer
    ) {
        let answer = AcknowledgementPacket(
            type: type,
            packetIdentifier: packet.packetIdentifier,
            reason: .packetIdentifierNotFound
        )
        guard explainsAcknowledgements else { return answer.encode(into: &output, version: version) }
        answer.encode(
            into: &output,
            version: version,
            diagnostics: explanation(answer.reason),
            maximumPacketSize: client.maximumPacketSize
        )
    }
}
