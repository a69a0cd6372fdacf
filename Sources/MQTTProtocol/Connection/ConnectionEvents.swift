/// What the state machine finds at the front of the received bytes.
package enum MQTTFraming: Sendable, Hashable {
    case packet(PacketHeader)
    /// So many bytes from the first unread one are needed at least.
    case needMore(total: Int)
    /// Do not parse now: CONNECT waits for its answer, or the connection has ended. Keep what came behind a
    /// CONNECT, discard what came after the end.
    case paused
    /// Write the output, then close.
    case close(ConnectionEnd)
}

/// What the owner of the connection is to do after a packet; replies are already in the output.
package enum MQTTAction: Sendable, Hashable {
    case none
    /// Find out who this is, then call `accept` or `refuse`; until then parse nothing.
    case authorize(ConnectPacket)
    case publish(InboundPublish)
    /// Subscribe to every filter whose reason is no failure, then call `subscribed` once they are in effect.
    case subscribe(InboundSubscribe)
    /// Remove the filters, then call `unsubscribed`.
    case unsubscribe(UnsubscribePacket)
    /// The client has answered a message that was sent with this token. A failure is final all the same.
    case acknowledged(token: UInt64, reason: ReasonCode)
    /// As `AcknowledgementDecision.received`.
    case received(packetIdentifier: UInt16, token: UInt64)
    /// As `AcknowledgementDecision.released`.
    case released(packetIdentifier: UInt16)
    /// The client goes on with enhanced authentication, or begins with it anew: call `challenge`,
    /// `completeReauthentication` or, where it failed, `refuse` or `end`. Messages are not held up by that.
    case authenticate(data: [UInt8], isNew: Bool)
    /// Write the output, close, and publish what `takeWill` returns.
    case close(ConnectionEnd)
}

/// The outcome of a received PUBLISH: small and without references, since there is one for each message.
package enum PublishDecision: Sendable, Hashable {
    case accept(InboundPublish)
    /// A QoS 2 message that is here already: nothing is to be done.
    case duplicate
    /// Write the output, close, and publish what `takeWill` returns.
    case close(ConnectionEnd)
}

/// The outcome of a received PUBACK, PUBREC, PUBREL or PUBCOMP.
package enum AcknowledgementDecision: Sendable, Hashable {
    case none
    /// The client has answered the message that was sent with this token. A failure is final all the same.
    case acknowledged(token: UInt64, reason: ReasonCode)
    /// Only in stored sessions. The client has a QoS 2 message: make sure that it is never sent again, then call
    /// `release`.
    case received(packetIdentifier: UInt16, token: UInt64)
    /// Only in stored sessions. The client released a QoS 2 message of its own: forget its identifier for good, then call
    /// `completeRelease`.
    case released(packetIdentifier: UInt16)
    case close(ConnectionEnd)
}

/// A message that the client may publish as far as the protocol is concerned.
package struct InboundPublish: Sendable, Hashable {
    package var view: PublishView
    /// Not zero when the topic name is not in the packet but `topic(ofAlias:)`.
    package var resolvedAlias: UInt16
    package var isRetained: Bool
    /// To be passed to `completePublish` when the message is stored; nil for QoS 0, which is not acknowledged.
    package var ticket: UInt64?
}

/// A SUBSCRIBE with the protocol's verdict on each filter.
package struct InboundSubscribe: Sendable, Hashable {
    package var packet: SubscribePacket
    /// One for each subscription: the QoS to grant, or why it is refused. The owner replaces those it refuses itself.
    package var reasons: [ReasonCode]
}

/// Why a connection ends.
package enum ConnectionEnd: Sendable, Hashable {
    /// The client said so; 0x04 asks for its will.
    case disconnectedByClient(ReasonCode)
    case violation(MQTTProtocolError)
    /// CONNECT was answered with a failure.
    case refused(ReasonCode)
    /// Takeover, shutdown, an administrator, a message that could not be stored…
    case endedByServer(ReasonCode)
}

/// How an accepted CONNECT is answered beyond what the options say.
package struct ConnectAcceptance: Sendable, Hashable {
    package var isSessionPresent = false
    /// The session outlives the connection: transitions of QoS 2 wait for the owner, who gives packet identifiers below
    /// `MQTTConnectionStateMachine.firstOwnIdentifier`.
    package var isSessionStored = false
    /// QoS 2 messages of the client that were received and not released on an earlier connection.
    package var receivedIdentifiers: [UInt16] = []
    /// Needed when the client's own identifier is empty.
    package var assignedClientIdentifier: MQTTString?
    package var responseInformation: MQTTString?
    /// The last message of enhanced authentication.
    package var authenticationData: [UInt8]?
    package var diagnostics = Diagnostics.none

    package init(assignedClientIdentifier: MQTTString? = nil) {
        self.assignedClientIdentifier = assignedClientIdentifier
    }
}

/// Whether a message may be sent to the client now.
package enum DeliveryAdmission: Sendable, Hashable {
    /// With this packet identifier; zero for QoS 0.
    case admitted(packetIdentifier: UInt16)
    /// The client has as many unacknowledged messages as it takes: wait for an acknowledgement.
    case windowFull
    /// The client does not take packets of this size: treat the message as delivered [MQTT-3.1.2-25].
    case tooLarge
    case notConnected
}
