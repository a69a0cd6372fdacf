package import NIOCore

// Subscriptions (MQTT 5.0 §3.8 to §3.11).
extension MQTTConnectionStateMachine {
    /// Decides what the protocol decides about each filter; the rest is the owner's.
    func judge(_ packet: SubscribePacket) -> InboundSubscribe {
        InboundSubscribe(
            packet: packet,
            reasons: packet.subscriptions.map { subscription in
                if packet.subscriptionIdentifier != nil, !options.isSubscriptionIdentifierAvailable {
                    return .subscriptionIdentifiersNotSupported
                }
                if subscription.filter.isShared, !options.isSharedSubscriptionAvailable {
                    return .sharedSubscriptionsNotSupported
                }
                if subscription.filter.hasWildcards, !options.isWildcardSubscriptionAvailable {
                    return .wildcardSubscriptionsNotSupported
                }
                return .granted(min(subscription.maximumQoS, options.maximumQoS))
            }
        )
    }

    /// Answers SUBSCRIBE once its subscriptions are in effect.
    ///
    /// - Parameter reasons: one for each filter, as in `InboundSubscribe.reasons`.
    /// - Returns: false, with nothing written, when the connection has ended or SUBACK exceeds the client's
    ///   maximum packet size.
    @discardableResult
    package func subscribed(
        packetIdentifier: UInt16,
        reasons: [ReasonCode],
        diagnostics: Diagnostics = .none,
        output: inout ByteBuffer
    ) -> Bool {
        guard phase == .connected else { return false }
        return SubackPacket(
            packetIdentifier: packetIdentifier,
            reasons: reasons.map { $0.isAllowed(in: .suback, from: .server) ? $0 : .unspecifiedError },
            diagnostics: self.diagnostics(reasons, diagnostics)
        ).encode(into: &output, version: version, maximumPacketSize: client.maximumPacketSize)
    }

    /// Answers UNSUBSCRIBE once nothing more is sent for its filters.
    ///
    /// - Parameter reasons: success or no-subscription-existed for each filter, or a failure.
    /// - Returns: as for `subscribed`.
    @discardableResult
    package func unsubscribed(
        packetIdentifier: UInt16,
        reasons: [ReasonCode],
        diagnostics: Diagnostics = .none,
        output: inout ByteBuffer
    ) -> Bool {
        guard phase == .connected else { return false }
        return UnsubackPacket(
            packetIdentifier: packetIdentifier,
            reasons: reasons.map { $0.isAllowed(in: .unsuback, from: .server) ? $0 : .unspecifiedError },
            diagnostics: self.diagnostics(reasons, diagnostics)
        ).encode(into: &output, version: version, maximumPacketSize: client.maximumPacketSize)
    }

    /// What is said in words about a SUBACK or UNSUBACK: why the first of the filters is refused that is.
    private func diagnostics(_ reasons: [ReasonCode], _ given: Diagnostics) -> Diagnostics {
        guard client.requestsProblemInformation else { return .none }
        guard given.isEmpty, explainsAcknowledgements, let failure = reasons.first(where: \.isFailure) else {
            return given
        }
        return explanation(failure)
    }
}
