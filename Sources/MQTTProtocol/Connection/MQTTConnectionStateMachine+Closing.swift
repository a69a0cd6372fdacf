package import NIOCore

// The ways a connection ends (MQTT 5.0 §3.14, §4.13).
extension MQTTConnectionStateMachine {
    mutating func receivedDisconnect(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer
    ) throws(MQTTProtocolError) -> MQTTAction {
        let packet = try DisconnectPacket.decode(header, bytes, context: context)
        if let expiry = packet.sessionExpirySeconds {
            guard expiry == 0 || client.requestedSessionExpirySeconds != 0 else {
                throw .sessionExpirySetAtDisconnect
            }
            let kept = min(expiry, options.maximumSessionExpirySeconds)
            client.hasChangedSessionExpiry = kept != client.sessionExpirySeconds
            client.sessionExpirySeconds = kept
        }
        // Only the normal farewell takes the will with it [MQTT-3.14.4-3].
        if packet.reason == .success { will = nil }
        phase = .ended
        return .close(.disconnectedByClient(packet.reason))
    }

    /// Ends the connection because of what the client did: DISCONNECT with the reason for a connected 5.0 client,
    /// nothing for others. Acknowledgements that are due go out first.
    mutating func violated(_ error: MQTTProtocolError, _ output: inout ByteBuffer) -> ConnectionEnd {
        let explanation = options.explainsViolations ? MQTTString(error.description) : nil
        writeFarewell(
            DisconnectPacket(reason: error.reasonCode, diagnostics: .init(reasonString: explanation)),
            &output
        )
        return .violation(error)
    }

    /// Ends the connection for a reason of the server: 0x8E session taken over, 0x8B server shutting down, 0x98
    /// administrative action, 0x9C use another server… Does nothing to one that has ended.
    package mutating func end(
        _ reason: ReasonCode,
        serverReference: MQTTString? = nil,
        diagnostics: Diagnostics = .none,
        output: inout ByteBuffer
    ) -> ConnectionEnd {
        if phase == .authorizing {
            return refuse(reason, serverReference: serverReference, diagnostics: diagnostics, output: &output)
        }
        let isAllowed = reason.isAllowed(in: .disconnect, from: .server)
        let explains = options.explainsRefusals && diagnostics.isEmpty
        writeFarewell(
            DisconnectPacket(
                reason: isAllowed ? reason : .unspecifiedError,
                serverReference: serverReference,
                diagnostics: explains ? explanation(reason) : diagnostics
            ),
            &output
        )
        return .endedByServer(reason)
    }

    private mutating func writeFarewell(_ packet: DisconnectPacket, _ output: inout ByteBuffer) {
        switch phase {
        case .awaitingConnect, .ended:
            break
        case .authorizing:
            // A server must not send DISCONNECT before a CONNACK of success [MQTT-3.14.0-1].
            writeRefusal(packet.reason, diagnostics: packet.diagnostics, version: version, &output)
        case .connected:
            writeAcknowledgements(into: &output)
            if version.hasProperties {
                packet.encode(into: &output, version: version, maximumPacketSize: client.maximumPacketSize)
            }
        }
        phase = .ended
    }

    /// A failure in words.
    func explanation(_ reason: ReasonCode) -> Diagnostics {
        Diagnostics(reasonString: reason.isFailure ? reason.text : nil)
    }

    /// Whether acknowledgements say in words why something is refused: where this server does and the client wants it
    /// [MQTT-3.1.2-29].
    var explainsAcknowledgements: Bool {
        options.explainsRefusals && version.hasProperties && client.requestsProblemInformation
    }

    /// The transport is gone without a word.
    package mutating func connectionLost() {
        phase = .ended
    }

    /// The will, to be published now that the connection has ended; nil when there is none, when the client took
    /// leave, and the second time.
    package mutating func takeWill() -> Will? {
        guard phase == .ended else { return nil }
        defer { will = nil }
        return will?.will
    }
}
