package import NIOCore

// CONNECT and its answer (MQTT 5.0 §3.1, §3.2).
extension MQTTConnectionStateMachine {
    mutating func receivedConnect(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        _ output: inout ByteBuffer
    ) -> MQTTAction {
        do throws(MQTTProtocolError) {
            let connect = try validated(try ConnectPacket.decode(header, bytes, limits: options.limits))
            version = connect.version
            framer.version = connect.version
            remember(connect)
            phase = .authorizing
            return .authorize(connect)
        } catch {
            refuse(error, level: ConnectPacket.protocolLevel(header, bytes), &output)
            phase = .ended
            return .close(.violation(error))
        }
    }

    /// Holds a CONNECT against what this server offers; a 3.x client that asks for more gets what there is.
    private func validated(_ packet: ConnectPacket) throws(MQTTProtocolError) -> ConnectPacket {
        var connect = packet
        switch connect.version {
        case .v3_1:
            if connect.clientIdentifier.isEmpty { throw .clientIdentifierNotValid }
        case .v3_1_1:
            if connect.clientIdentifier.isEmpty, !connect.cleanStart { throw .clientIdentifierNotValid }
        case .v5:
            if let method = connect.properties.authenticationMethod, !options.authenticationMethods.contains(method) {
                throw .unsupportedAuthenticationMethod
            }
        }
        guard var will = connect.will else { return connect }
        if will.qos > options.maximumQoS {
            guard connect.version != .v5 else { throw .qosNotSupported }
            will.qos = options.maximumQoS
        }
        if will.retain, !options.isRetainAvailable {
            guard connect.version != .v5 else { throw .retainNotSupported }
            will.retain = false
        }
        connect.will = will
        return connect
    }

    private mutating func remember(_ connect: ConnectPacket) {
        let asked = connect.properties.sessionExpirySeconds
        client.identifier = connect.clientIdentifier
        client.requestedSessionExpirySeconds = asked
        // A 3.x session without Clean Session lasts as long as sessions may.
        let wanted = connect.version == .v5 ? asked : connect.cleanStart ? 0 : .max
        client.sessionExpirySeconds = min(wanted, options.maximumSessionExpirySeconds)
        client.receiveMaximum = connect.properties.receiveMaximum
        client.topicAliasMaximum = connect.properties.topicAliasMaximum
        client.maximumPacketSize = connect.properties.maximumPacketSize.map(Int.init) ?? .max
        client.requestsProblemInformation = connect.properties.requestsProblemInformation
        client.keepAliveSeconds = connect.keepAliveSeconds
        client.offeredWill = connect.will.map(KeptWill.init)
        client.authenticationMethod = connect.properties.authenticationMethod
        if client.authenticationMethod != nil { authentication = .server }
    }

    /// Answers a CONNECT that cannot be accepted, in the form its sender understands, or not at all.
    private func refuse(_ error: MQTTProtocolError, level: UInt8?, _ output: inout ByteBuffer) {
        guard let level else { return }
        let newest = ProtocolVersion.v5.rawValue
        if error == .unsupportedProtocolVersion {
            let form: ProtocolVersion = level > newest ? .v5 : .v3_1_1
            ConnackPacket(reason: .unsupportedProtocolVersion).encode(into: &output, version: form)
        } else if level == newest {
            writeRefusal(error.reasonCode, explaining: error, version: .v5, &output)
        } else if error == .clientIdentifierNotValid {
            ConnackPacket(reason: .clientIdentifierNotValid).encode(into: &output, version: .v3_1_1)
        }
        // 3.x closes without a word in every other case (3.1.1 §3.1.4).
    }

    func writeRefusal(
        _ reason: ReasonCode,
        explaining error: MQTTProtocolError? = nil,
        serverReference: MQTTString? = nil,
        diagnostics: Diagnostics = .none,
        version: ProtocolVersion,
        _ output: inout ByteBuffer
    ) {
        let allowed = reason.isFailure && reason.isAllowed(in: .connack, from: .server)
        var connack = ConnackPacket(reason: allowed ? reason : .unspecifiedError)
        connack.properties.serverReference = serverReference
        connack.properties.diagnostics = diagnostics
        if diagnostics.isEmpty, options.explainsRefusals { connack.properties.diagnostics = explanation(reason) }
        if let error, options.explainsViolations {
            connack.properties.diagnostics.reasonString = MQTTString(error.description)
        }
        connack.encode(into: &output, version: version, maximumPacketSize: client.maximumPacketSize)
    }

    /// Accepts the client: writes CONNACK with what this server offers. Parsing may go on behind the CONNECT.
    ///
    /// - Returns: nil, or the connection's end when CONNACK exceeds the client's maximum packet size.
    package mutating func accept(
        _ acceptance: ConnectAcceptance = ConnectAcceptance(),
        nowMilliseconds: Int64,
        output: inout ByteBuffer
    ) -> ConnectionEnd? {
        guard phase == .authorizing else { return nil }
        var connack = ConnackPacket(reason: .success, sessionPresent: acceptance.isSessionPresent)
        if version.hasProperties {
            connack.properties = offer(acceptance)
            let ceiling = options.maximumKeepAliveSeconds
            if ceiling != 0, client.keepAliveSeconds == 0 || client.keepAliveSeconds > ceiling {
                connack.properties.serverKeepAliveSeconds = ceiling
                client.keepAliveSeconds = ceiling
            }
        }
        if let assigned = acceptance.assignedClientIdentifier { client.identifier = assigned }
        var isWritten = encode(connack, &output)
        if !isWritten {
            // Aliases are a convenience: without them the packet may fit a very small client.
            connack.properties.topicAliasMaximum = 0
            connack.properties.responseInformation = nil
            isWritten = encode(connack, &output)
        }
        guard isWritten else {
            phase = .ended
            return .refused(.packetTooLarge)
        }
        aliases.maximum = connack.properties.topicAliasMaximum
        isSessionStored = acceptance.isSessionStored
        outboundAliases = OutboundTopicAliases(allowed: client.topicAliasMaximum)
        window = OutboundWindow(
            limit: Int(min(client.receiveMaximum, options.maximumInFlight)),
            identifiers: (isSessionStored ? Self.firstOwnIdentifier : 1)...UInt16.max
        )
        authentication = .none
        for identifier in acceptance.receivedIdentifiers { exchanges.restore(identifier) }
        will = client.offeredWill
        client.offeredWill = nil
        framer.maximumPacketSize = options.limits.maximumPacketSize
        lastPacketMilliseconds = nowMilliseconds
        phase = .connected
        return nil
    }

    private func encode(_ connack: ConnackPacket, _ output: inout ByteBuffer) -> Bool {
        connack.encode(into: &output, version: version, maximumPacketSize: client.maximumPacketSize)
    }

    private func offer(_ acceptance: ConnectAcceptance) -> ConnackProperties {
        var properties = ConnackProperties()
        if client.sessionExpirySeconds != client.requestedSessionExpirySeconds {
            properties.sessionExpirySeconds = client.sessionExpirySeconds
        }
        properties.receiveMaximum = options.receiveMaximum
        properties.maximumQoS = options.maximumQoS
        properties.isRetainAvailable = options.isRetainAvailable
        properties.maximumPacketSize = UInt32(clamping: options.limits.maximumPacketSize)
        properties.assignedClientIdentifier = acceptance.assignedClientIdentifier
        properties.topicAliasMaximum = options.topicAliasMaximum
        properties.isWildcardSubscriptionAvailable = options.isWildcardSubscriptionAvailable
        properties.isSubscriptionIdentifierAvailable = options.isSubscriptionIdentifierAvailable
        properties.isSharedSubscriptionAvailable = options.isSharedSubscriptionAvailable
        properties.responseInformation = acceptance.responseInformation
        // [MQTT-4.12.0-5]: the method comes back with a success.
        properties.authenticationMethod = client.authenticationMethod
        properties.authenticationData = client.authenticationMethod == nil ? nil : acceptance.authenticationData
        properties.diagnostics = acceptance.diagnostics
        return properties
    }

    /// Refuses the client: writes CONNACK with the reason (its 3.x return code for older clients).
    package mutating func refuse(
        _ reason: ReasonCode,
        serverReference: MQTTString? = nil,
        diagnostics: Diagnostics = .none,
        output: inout ByteBuffer
    ) -> ConnectionEnd {
        if phase == .authorizing {
            writeRefusal(
                reason,
                serverReference: serverReference,
                diagnostics: diagnostics,
                version: version,
                &output
            )
        }
        phase = .ended
        return .refused(reason)
    }
}
