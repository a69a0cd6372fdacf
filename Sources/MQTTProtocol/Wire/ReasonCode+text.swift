extension ReasonCode {
    /// What a person is told with a failure, as a reason string.
    package var text: MQTTString {
        switch self {
        case .notAuthorized: "publishing under this name is not allowed"
        case .quotaExceeded: "there is no room for this message: a quota is used up"
        case .topicNameInvalid: "the topic name is not accepted here"
        case .topicFilterInvalid: "the topic filter is not accepted here"
        case .payloadFormatInvalid: "the payload is not what the message says of it"
        case .packetIdentifierInUse: "the packet identifier is in use"
        case .packetIdentifierNotFound: "the packet identifier is not in use"
        case .serverUnavailable, .serverBusy: "the server cannot take this now: try again later"
        case .implementationSpecificError: "the server could not do this; its log says why"
        default: "the server could not store this message; its log says why"
        }
    }
}
