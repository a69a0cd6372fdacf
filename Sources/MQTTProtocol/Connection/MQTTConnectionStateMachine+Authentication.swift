package import NIOCore

// Enhanced authentication, at the beginning and again (MQTT 5.0 §3.15, §4.12). What the data means is the owner's.
extension MQTTConnectionStateMachine {
    /// The method that CONNECT named; nil where there is none.
    package var authenticationMethod: MQTTString? { client.authenticationMethod }

    /// Before CONNACK a client that authenticates may send AUTH and DISCONNECT [MQTT-3.1.2-30].
    mutating func receivedAuthorizing(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        _ output: inout ByteBuffer
    ) -> MQTTAction {
        do throws(MQTTProtocolError) {
            guard authentication == .client else { throw .unexpectedPacket }
            switch header.type {
            case .auth: return try receivedAuth(header, bytes)
            case .disconnect:
                let packet = try DisconnectPacket.decode(header, bytes, context: context)
                phase = .ended
                return .close(.disconnectedByClient(packet.reason))
            case .connect, .connack, .publish, .puback, .pubrec, .pubrel, .pubcomp, .subscribe, .suback, .unsubscribe,
                .unsuback, .pingreq, .pingresp:
                throw .unexpectedPacket
            }
        } catch {
            return .close(violated(error, &output))
        }
    }

    mutating func receivedAuth(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer
    ) throws(MQTTProtocolError) -> MQTTAction {
        let packet = try AuthPacket.decode(header, bytes, context: context)
        // Without a method in CONNECT there is no AUTH, and the method stays what it was [MQTT-4.12.0-6],
        // [MQTT-4.12.1-1].
        guard let method = client.authenticationMethod, packet.authenticationMethod == method else {
            throw .unexpectedPacket
        }
        let isNew: Bool
        switch (packet.reason, phase, authentication) {
        case (.continueAuthentication, _, .client): isNew = false
        case (.reauthenticate, .connected, .none): isNew = true
        default: throw .unexpectedPacket
        }
        authentication = .server
        return .authenticate(data: packet.authenticationData ?? [], isNew: isNew)
    }

    /// Asks the client for more: writes AUTH.
    ///
    /// - Returns: nil, or the connection's end when AUTH exceeds the client's maximum packet size.
    package mutating func challenge(_ data: [UInt8], output: inout ByteBuffer) -> ConnectionEnd? {
        guard phase == .authorizing || phase == .connected, authentication == .server else { return nil }
        let packet = AuthPacket(
            reason: .continueAuthentication,
            authenticationMethod: client.authenticationMethod,
            authenticationData: data
        )
        guard packet.encode(into: &output, maximumPacketSize: client.maximumPacketSize) else {
            return end(.packetTooLarge, output: &output)
        }
        authentication = .client
        return nil
    }

    /// The client has authenticated again: writes AUTH with success. The first time CONNACK says so.
    package mutating func completeReauthentication(_ data: [UInt8], output: inout ByteBuffer) {
        guard phase == .connected, authentication == .server else { return }
        AuthPacket(reason: .success, authenticationMethod: client.authenticationMethod, authenticationData: data)
            .encode(into: &output, maximumPacketSize: client.maximumPacketSize)
        authentication = .none
    }
}
