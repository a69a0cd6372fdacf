internal import Credentials
internal import Logging
internal import MQTTProtocol
internal import MessageModel
internal import NIOCore

/// An enhanced authentication under way (MQTT 5.0 §4.12).
final class ClientAuthentication {
    var exchange: ScramServer
    /// What is to be gone on with; nil where a client that is connected authenticates again.
    let connect: ConnectPacket?

    init(exchange: ScramServer, connect: ConnectPacket?) {
        self.exchange = exchange
        self.connect = connect
    }
}

extension MQTTConnectionHandler {
    /// A client that names a method proves who it is before its session is looked for.
    func beginAuthentication(_ connect: ConnectPacket, output: inout ByteBuffer) {
        authentication = ClientAuthentication(exchange: front.makeExchange(), connect: connect)
        authenticate(connect.properties.authenticationData ?? [], output: &output)
    }

    /// The next message of the client.
    func authenticate(_ data: [UInt8], isNew: Bool, output: inout ByteBuffer) {
        if isNew { authentication = ClientAuthentication(exchange: front.makeExchange(), connect: nil) }
        authenticate(data, output: &output)
    }

    private func authenticate(_ data: [UInt8], output: inout ByteBuffer) {
        guard let authentication else { return }
        let users = front.options.users
        switch authentication.exchange.received(data, credential: { users[$0] }) {
        case .challenge(let message):
            if let end = machine.challenge(message, output: &output) { close(end, output: &output) }
        case .accepted(let user, let message):
            self.authentication = nil
            if let connect = authentication.connect {
                self.user = user
                openSession(connect, authenticationData: message, output: &output)
            } else if user == self.user {
                machine.completeReauthentication(message, output: &output)
            } else {
                // A connection stays that of whoever opened it.
                refuseAuthentication(output: &output)
            }
        case .refused: refuseAuthentication(output: &output)
        }
    }

    private func refuseAuthentication(output: inout ByteBuffer) {
        front.logger.notice(
            "an MQTT client could not authenticate",
            metadata: [
                "client": "\(authentication?.connect?.clientIdentifier ?? client)",
                "from": "\(peer.map { "\($0)" } ?? "?")",
            ]
        )
        authentication = nil
        let end =
            isConnected
            ? machine.end(.notAuthorized, output: &output)
            : machine.refuse(
                .notAuthorized,
                diagnostics: Diagnostics(reasonString: "the authentication failed"),
                output: &output
            )
        close(end, output: &output)
    }
}

extension MQTTFront {
    fileprivate func makeExchange() -> ScramServer {
        let nonce = (0..<18).map { _ in UInt8.random(in: .min ... .max) }
        return ScramServer(nonce: Base64.encode(nonce), secret: authenticationSecret)
    }
}
