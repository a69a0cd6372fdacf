package import OutboundHTTP

/// One request to a server over one connection of its own, with errors as the console says them.
package struct ServerExchange: Sendable {
    package var server: ServerURL
    /// For all of it, from the first byte sent to the last received.
    package var timeout = Duration.seconds(30)
    /// A larger response is refused.
    package var maxResponseSize = 16 << 20

    package init(server: ServerURL) {
        self.server = server
    }

    /// Sends the request and waits for the whole response.
    /// - Throws: `unreachable` without an answer in time; `failed` when what answers is no such server.
    package func send(_ request: HTTPRequest) async throws(CommandFailure) -> HTTPResponse {
        var exchange = HTTPExchange(host: server.host, port: server.port)
        exchange.timeout = timeout
        exchange.maxResponseSize = maxResponseSize
        do throws(HTTPExchangeProblem) {
            return try await exchange.send(request)
        } catch {
            throw failure(of: error, exchange)
        }
    }

    private func failure(of problem: HTTPExchangeProblem, _ exchange: HTTPExchange) -> CommandFailure {
        switch problem {
        case .unreachable(let why):
            CommandFailure(
                .unreachable,
                "cannot reach \(server)",
                why: why,
                hint: "is the server running there? --url or SLUICE_URL names another"
            )
        case .timeout:
            CommandFailure(
                .unreachable,
                "no answer from \(server)",
                why: "nothing complete came within \(exchange.timeout)"
            )
        case .tooLarge:
            CommandFailure(.failed, "the answer of \(server) is larger than \(exchange.maxResponseSize) bytes")
        case .closedEarly:
            CommandFailure(.unreachable, "\(server) closed the connection before its answer was complete")
        case .notHTTP:
            CommandFailure(
                .failed,
                "what listens on \(server) does not answer in HTTP",
                hint: "the console uses the server's http.listen address"
            )
        }
    }
}
