extension ReasonCode {
    /// What a person is told with a failure, as a reason string.
    package var text: MQTTString {
        switch self {
        case .notAuthorized: "this is not allowed"
        case .quotaExceeded: "there is no room for this: a quota is used up"
        case .topicNameInvalid: "the topic name is not accepted here"
        case .topicFilterInvalid: "the topic filter is not accepted here"
        case .payloadFormatInvalid: "the payload is not what the message says of it"
        case .packetIdentifierInUse: "the packet identifier is in use"
        case .packetIdentifierNotFound: "the packet identifier is not in use"
        case .serverUnavailable, .serverBusy: "the server cannot take this now: try again later"
        case .connectionRateExceeded: "too many clients connect at once: try again later"
        case .clientIdentifierNotValid: "the client identifier is not accepted here"
        case .sessionTakenOver: "another connection came with this client identifier"
        case .serverShuttingDown: "the server is shutting down"
        case .administrativeAction: "the connection was ended by whoever looks after this server"
        case .useAnotherServer: "use another server for now"
        case .serverMoved: "use another server from now on"
        case .packetTooLarge: "the packet is larger than the client takes"
        case .wildcardSubscriptionsNotSupported: "filters with wildcards are not accepted here"
        case .sharedSubscriptionsNotSupported: "shared subscriptions are not accepted here"
        case .subscriptionIdentifiersNotSupported: "subscription identifiers are not accepted here"
        default: "the server could not do this; its log says why"
        }
    }
}
