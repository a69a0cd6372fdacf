internal import AMQPProtocol
internal import Logging
internal import NIOCore

// Who the client is, and which virtual host it wants.
extension AMQPConnectionHandler {
    func authenticate(_ response: SASLResponse, output: inout ByteBuffer) {
        guard case .password(let name, let password) = response.credentials else {
            return authenticated(as: nil, response, output: &output)
        }
        check(name, password, output: &output) { $0.authenticated(as: $1, response, output: &$2) }
    }

    /// Finds out who somebody is: at once, or on another thread, and then what waits is gone on with.
    private func check(
        _ name: [UInt8],
        _ password: [UInt8],
        output: inout ByteBuffer,
        _ body: @escaping (AMQPConnectionHandler, String?, inout ByteBuffer) -> Void
    ) {
        var isInside = true
        var answer: String??
        front.authenticator.check(user: name, password: password) { user in
            if isInside {
                answer = .some(user)
                return
            }
            guard !self.hasEnded else { return }
            self.withOutput { body(self, user, &$0) }
            self.resume()
        }
        isInside = false
        if let answer { body(self, answer, &output) }
    }

    private func authenticated(as user: String?, _ response: SASLResponse, output: inout ByteBuffer) {
        guard let user else {
            front.logger.notice(
                "an AMQP client could not log in",
                metadata: ["from": "\(peer.map { "\($0)" } ?? "?")", "mechanism": "\(response.mechanism.rawValue)"]
            )
            _ = machine.refuseLogin(output: &output)
            return watch()
        }
        self.user = user
        machine.authenticated(output: &output)
    }

    func openVirtualHost(_ name: ShortString, output: inout ByteBuffer) {
        guard let host = front.virtualHost(name) else {
            return perform(machine.fail(.noVirtualHost(name), output: &output))
        }
        self.host = host
        machine.openedVirtualHost(output: &output)
        watch()
    }

    func updateSecret(_ secret: ConnectionUpdateSecret, output: inout ByteBuffer) {
        guard !front.authenticator.isOpen else { return machine.updatedSecret(output: &output) }
        check(Array(user.utf8), secret.newSecret, output: &output) { $0.updatedSecret($1 != nil, output: &$2) }
    }

    private func updatedSecret(_ isRight: Bool, output: inout ByteBuffer) {
        if isRight { return machine.updatedSecret(output: &output) }
        perform(machine.fail(.secretRefused(), output: &output))
    }
}
