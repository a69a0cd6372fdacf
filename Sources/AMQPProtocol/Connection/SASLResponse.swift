package enum SASLMechanism: String, Sendable, Hashable, CaseIterable {
    case plain = "PLAIN"
    /// RabbitMQ's own: a field table with LOGIN and PASSWORD.
    case amqplain = "AMQPLAIN"
    /// Who the client is says its certificate.
    case external = "EXTERNAL"
}

/// What a client has said about who it is.
package struct SASLResponse: Sendable, Hashable {
    package enum Credentials: Sendable, Hashable {
        case password(user: [UInt8], password: [UInt8])
        case external
    }

    package var mechanism: SASLMechanism
    package var credentials: Credentials

    /// - Throws: 502 for a response that has not the form of its mechanism.
    init(_ mechanism: SASLMechanism, _ response: [UInt8]) throws(AMQPError) {
        self.mechanism = mechanism
        switch mechanism {
        case .plain: credentials = try Self.plain(response)
        case .amqplain: credentials = try Self.amqplain(response)
        case .external: credentials = .external
        }
    }

    /// Two words with a zero before each: RabbitMQ takes no authorization identity.
    private static func plain(_ response: [UInt8]) throws(AMQPError) -> Credentials {
        let words = response.split(separator: 0, omittingEmptySubsequences: false)
        guard words.count == 3, words[0].isEmpty else {
            throw AMQPError(.syntaxError, "response of mechanism PLAIN is invalid", method: .connectionStartOk)
        }
        return .password(user: Array(words[1]), password: Array(words[2]))
    }

    /// A table without the length before it.
    private static func amqplain(_ response: [UInt8]) throws(AMQPError) -> Credentials {
        guard let table = FieldTable(encoded: response),
            case .longString(let user) = table["LOGIN"],
            case .longString(let password) = table["PASSWORD"]
        else {
            throw AMQPError(
                .syntaxError,
                "AMQPLAIN auth info is missing LOGIN or PASSWORD field",
                method: .connectionStartOk
            )
        }
        return .password(user: user, password: password)
    }
}
