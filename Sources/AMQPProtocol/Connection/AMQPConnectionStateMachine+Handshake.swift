package import NIOCore

// From connection.start to the open virtual host, and the other methods of channel 0.
extension AMQPConnectionStateMachine {
    mutating func receivedControl(
        _ method: ClientMethod,
        _ id: MethodID,
        _ output: inout ByteBuffer
    ) throws(AMQPError) -> AMQPAction {
        switch (method, phase) {
        case (.connectionClose(let close), _): return receivedClose(close, &output)
        case (.connectionCloseOk, .closedByServer(let error)):
            phase = .ended
            return .close(.closedByServer(error))
        case (.connectionStartOk(let start), .starting): return try receivedStartOk(start)
        case (.connectionSecureOk(let response), .securing):
            let response = try SASLResponse(mechanism, response)
            phase = .authenticating
            return .authenticate(response)
        case (.connectionTuneOk(let tuning), .tuning):
            try accept(tuning)
            phase = .opening
            return .none
        case (.connectionOpen(let virtualHost), .opening):
            environment.virtualHost = virtualHost
            phase = .openingVirtualHost
            return .openVirtualHost(virtualHost)
        case (.connectionUpdateSecret(let secret), .running):
            isUpdatingSecret = true
            return .updateSecret(secret)
        default: throw unexpectedMethod(id)
        }
    }

    private mutating func receivedStartOk(_ start: ConnectionStartOk) throws(AMQPError) -> AMQPAction {
        clientProperties = start.clientProperties
        clientCapabilities = ClientCapabilities(start.clientProperties)
        guard let chosen = options.mechanisms.first(where: { $0.rawValue == start.mechanism.description }) else {
            throw AMQPError(
                .commandInvalid,
                "unknown authentication mechanism '\(start.mechanism)'",
                method: .connectionStartOk
            )
        }
        mechanism = chosen
        let response = try SASLResponse(chosen, start.response)
        phase = .authenticating
        return .authenticate(response)
    }

    /// The client is who it says: writes connection.tune.
    package mutating func authenticated(output: inout ByteBuffer) {
        guard phase == .authenticating else { return }
        write(
            .connectionTune(
                ConnectionTuning(
                    channelMaximum: options.limits.channelMaximum,
                    frameMaximum: options.limits.frameMaximum,
                    heartbeatSeconds: options.limits.heartbeatSeconds
                )
            ),
            &output
        )
        phase = .tuning
    }

    /// Asks the client for more.
    package mutating func challenge(_ challenge: [UInt8], output: inout ByteBuffer) {
        guard phase == .authenticating else { return }
        write(.connectionSecure(challenge: challenge), &output)
        phase = .securing
    }

    /// The client is not who it says. It learns so only if it has announced `authentication_failure_close`; hanging up
    /// takes its time either way.
    package mutating func refuseLogin(output: inout ByteBuffer) -> AMQPAction {
        guard phase == .authenticating else { return .none }
        let error = AMQPError(
            .accessRefused,
            "Login was refused using authentication mechanism \(mechanism.rawValue). For details see the broker logfile."
        )
        if clientCapabilities.wantsLoginRefusals { write(.connectionClose(CloseMethod(error)), &output) }
        drain(.loginRefused)
        return .failed(error)
    }

    /// Holds connection.tune-ok against the offer. Zero takes it as it is.
    private mutating func accept(_ answer: ConnectionTuning) throws(AMQPError) {
        let limits = options.limits
        tuning = answer
        if answer.frameMaximum == 0 {
            tuning.frameMaximum = limits.frameMaximum
        } else if answer.frameMaximum < limits.minimumFrameMaximum {
            throw Self.outOfRange("frame_max", Int(answer.frameMaximum), "lower", "minimum", limits.minimumFrameMaximum)
        } else if answer.frameMaximum > limits.frameMaximum {
            throw Self.outOfRange("frame_max", Int(answer.frameMaximum), "higher", "maximum", limits.frameMaximum)
        }
        if answer.channelMaximum == 0 {
            tuning.channelMaximum = limits.channelMaximum
        } else if answer.channelMaximum > limits.channelMaximum {
            let maximum = UInt32(limits.channelMaximum)
            throw Self.outOfRange("channel_max", Int(answer.channelMaximum), "higher", "maximum", maximum)
        }
        framer.frameMaximum = tuning.frameMaximum
    }

    private static func outOfRange(
        _ name: String,
        _ value: Int,
        _ comparison: String,
        _ bound: String,
        _ limit: UInt32
    ) -> AMQPError {
        AMQPError(
            .notAllowed,
            "negotiated \(name) = \(value) is \(comparison) than the \(bound) allowed value (\(limit))",
            method: .connectionTune
        )
    }

    /// The virtual host is there, and the user may use it.
    package mutating func openedVirtualHost(output: inout ByteBuffer) {
        guard phase == .openingVirtualHost else { return }
        write(.connectionOpenOk, &output)
        phase = .running
    }

    package mutating func updatedSecret(output: inout ByteBuffer) {
        guard phase == .running, isUpdatingSecret else { return }
        isUpdatingSecret = false
        write(.connectionUpdateSecretOk, &output)
    }

    // MARK: Admission

    /// The owner stops taking messages: tells a client that wants to know why. What it publishes is not read any more.
    package mutating func block(reason: ShortString, output: inout ByteBuffer) {
        guard phase == .running, !isBlocked else { return }
        isBlocked = true
        if clientCapabilities.wantsBlockedNotifications { write(.connectionBlocked(reason: reason), &output) }
    }

    package mutating func unblock(output: inout ByteBuffer) {
        guard phase == .running, isBlocked else { return }
        isBlocked = false
        if clientCapabilities.wantsBlockedNotifications { write(.connectionUnblocked, &output) }
    }

    var stateName: String {
        switch phase {
        case .awaitingHeader, .starting: "starting"
        case .authenticating, .securing: "securing"
        case .tuning: "tuning"
        case .opening, .openingVirtualHost: "opening"
        case .running: "running"
        case .closedByClient: "closing"
        case .closedByServer, .draining, .ended: "closed"
        }
    }
}
