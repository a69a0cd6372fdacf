package import NIOCore

// Messages from the client (MQTT 5.0 §3.3, §4.3, §4.6).
extension MQTTConnectionStateMachine {
    /// Takes one PUBLISH. Allocates nothing for a message, except when an alias gets a new topic.
    ///
    /// - Parameters:
    ///   - header: as `nextPacket` returned it.
    ///   - bytes: the packet from its first byte on; may extend beyond it.
    package mutating func receivedPublish(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        nowMilliseconds: Int64,
        output: inout ByteBuffer
    ) -> PublishDecision {
        guard phase == .connected, header.type == .publish else {
            return .close(violated(.unexpectedPacket, &output))
        }
        lastPacketMilliseconds = nowMilliseconds
        do throws(MQTTProtocolError) {
            let view = try PublishView.decode(header, bytes, context: context)
            return try admit(view, bytes, &output)
        } catch {
            return .close(violated(error, &output))
        }
    }

    @inline(__always)
    private mutating func admit(
        _ view: PublishView,
        _ bytes: UnsafeRawBufferPointer,
        _ output: inout ByteBuffer
    ) throws(MQTTProtocolError) -> PublishDecision {
        let qos = view.qos
        guard qos <= options.maximumQoS else { throw .qosNotSupported }
        var publish = InboundPublish(view: view, resolvedAlias: 0, isRetained: view.isRetained, ticket: nil)
        if publish.isRetained, !options.isRetainAvailable {
            guard !version.hasProperties else { throw .retainNotSupported }
            publish.isRetained = false
        }
        if view.topicAlias != 0 { publish.resolvedAlias = try resolveAlias(of: view, bytes) }
        switch qos {
        case .atMostOnce: break
        case .atLeastOnce:
            guard inboundCount < inboundLimit else { throw .receiveMaximumExceeded }
            publish.ticket = pending.append(packetIdentifier: view.packetIdentifier, isExactlyOnce: false)
        case .exactlyOnce:
            if let phase = exchanges.phase(view.packetIdentifier) {
                // Where it is being stored, its PUBREC comes by itself.
                if phase != .publishedExactlyOnce {
                    AcknowledgementPacket(type: .pubrec, packetIdentifier: view.packetIdentifier)
                        .encode(into: &output, version: version)
                }
                return .duplicate
            }
            guard inboundCount < inboundLimit else { throw .receiveMaximumExceeded }
            exchanges.begin(view.packetIdentifier)
            publish.ticket = pending.append(packetIdentifier: view.packetIdentifier, isExactlyOnce: true)
        }
        return .accept(publish)
    }

    /// Messages that count towards the receive maximum: from PUBLISH to PUBACK, or to PUBCOMP (MQTT 5.0 §4.9).
    var inboundCount: Int { pending.count &+ exchanges.count &- exchanges.storingCount }

    /// A 3.x client knows no receive maximum; it cannot have more messages open than there are identifiers.
    var inboundLimit: Int {
        version.hasProperties ? Int(options.receiveMaximum) : Int(UInt16.max)
    }

    private mutating func resolveAlias(
        of view: PublishView,
        _ bytes: UnsafeRawBufferPointer
    ) throws(MQTTProtocolError) -> UInt16 {
        guard view.topicAlias <= aliases.maximum else { throw .topicAliasInvalid }
        let topic = view.topicRange
        guard topic.isEmpty else {
            aliases.set(view.topicAlias, to: UnsafeRawBufferPointer(rebasing: bytes[topic]))
            return 0
        }
        guard aliases.isSet(view.topicAlias) else { throw .topicAliasUnknown }
        return view.topicAlias
    }

    /// The topic name of an `InboundPublish` whose `resolvedAlias` is not zero.
    package func topic(ofAlias alias: UInt16) -> [UInt8]? {
        aliases.topic(alias)
    }

    /// Whether reading should pause until messages are stored: the only brake there is for 3.x clients.
    package var isInboundWindowFull: Bool {
        inboundCount >= Int(options.receiveMaximum)
    }

    /// `isInboundWindowFull` for owners that keep the machine in an object: a getter of another module copies all of it.
    package mutating func asksForPause() -> Bool { isInboundWindowFull }

    /// The packet identifiers of QoS 2 messages that were received and wait for PUBREL.
    package var receivedIdentifiers: [UInt16] { exchanges.receivedIdentifiers }

    /// A released message is forgotten for good: writes PUBCOMP.
    package mutating func completeRelease(_ packetIdentifier: UInt16, output: inout ByteBuffer) {
        guard phase == .connected, exchanges.phase(packetIdentifier) == .released else { return }
        exchanges.complete(packetIdentifier)
        AcknowledgementPacket(type: .pubcomp, packetIdentifier: packetIdentifier)
            .encode(into: &output, version: version)
    }

    /// Messages received and not yet acknowledged.
    package var pendingAcknowledgementCount: Int { pending.count }

    /// The message is stored, or finally is not. Completions may come in any order; call `writeAcknowledgements`
    /// after some of them.
    ///
    /// - Parameter reason: success, no matching subscribers, or a failure. A failure ends a 3.x connection, which has
    ///   no other way to learn of it; pass success to accept and drop a message (3.1.1 §3.3.5.2).
    /// - Returns: the connection's end, or nil.
    package mutating func completePublish(
        _ ticket: UInt64,
        reason: ReasonCode = .success,
        output: inout ByteBuffer
    ) -> ConnectionEnd? {
        guard phase == .connected else { return nil }
        if reason.isFailure, !version.hasProperties { return end(reason, output: &output) }
        pending.complete(ticket, reason: reason.isAllowed(in: .puback, from: .server) ? reason : .unspecifiedError)
        return nil
    }

    /// All messages of a range of tickets are stored.
    package mutating func completePublishes(_ tickets: Range<UInt64>) {
        guard phase == .connected else { return }
        for ticket in tickets.clamped(to: pending.first..<pending.next) {
            pending.complete(ticket, reason: .success)
        }
    }

    /// Appends PUBACK for every message that is complete and whose predecessors are.
    ///
    /// - Returns: how many were written.
    @discardableResult
    package mutating func writeAcknowledgements(into output: inout ByteBuffer) -> Int {
        guard phase == .connected else { return 0 }
        return pending.writeReady(
            into: &output,
            version: version,
            explainingWithin: explainsAcknowledgements ? client.maximumPacketSize : 0,
            exchanges: &exchanges
        )
    }
}
