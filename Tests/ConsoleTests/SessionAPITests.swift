import Testing

@testable import AdminConsole

@Suite struct SessionAPITests {
    private static let session = #"""
        {"client":"dev/1","connected":true,"state":"connected, and has everything; its session is kept for 1h after it",
        "protocol":"MQTT 5.0","address":"127.0.0.1:5","connected_at":"t","keep_alive_s":60,"unsent_bytes":0,"stored":true,
        "expiry_s":3600,"queued":3,"in_flight":1,"unreleased":0,"uncompleted":2,"subscriptions":[{"filter":"a/+","qos":1,
        "no_local":true,"retain_as_published":false,"identifier":7}],"will":{"topic":"gone","delay_s":5,"waiting":false}}
        """#

    private func withSessions(
        _ answers: [CannedServer.Answer],
        _ body: (SessionAPI, CannedServer) async throws -> Void
    ) async throws {
        try await CannedServer.run(answers) { server, port in
            try await body(
                SessionAPI(exchange: ServerExchange(server: try ServerURL("http://127.0.0.1:\(port)"))),
                server
            )
        }
    }

    @Test("a session is shown with its state in words, its subscriptions and its will")
    func show() async throws {
        try await withSessions([.json(200, Self.session)]) { sessions, server in
            let session = try await sessions.show("dev/1")
            #expect(server.requests == ["GET /v1/sessions/dev%2F1"])
            let text = OutputFormat.table.render(SessionAPI.record(of: session), isTerminal: true, styled: false)
            #expect(text.contains("state:") && text.contains("has everything"))
            #expect(text.contains("gone, if the client is lost, 5s later"))
            #expect(text.contains("a/+") && text.contains("no-local"))
            #expect(text.contains("1m") && text.contains("1h"))
        }
    }

    @Test("a list goes on over a page without sessions, to the end")
    func list() async throws {
        let pages = [
            #"{"sessions":[\#(Self.session)],"next_page_token":"a"}"#, #"{"sessions":[],"next_page_token":"others/"}"#,
            #"{"sessions":[\#(Self.session)]}"#,
        ]
        try await withSessions(pages.map { .json(200, $0) }) { sessions, server in
            let all = try await sessions.list(limit: .max)
            #expect(all.count == 2)
            #expect(server.requests.last == "GET /v1/sessions?limit=500&page_token=others%2F")
        }
    }

    @Test("a client is disconnected, and its session deleted, by one request each")
    func end() async throws {
        try await withSessions([.json(200, "{}"), .json(200, "{}")]) { sessions, server in
            try await sessions.kick("a b")
            try await sessions.purge("a b")
            #expect(server.requests == ["DELETE /v1/sessions/a%20b/connection", "DELETE /v1/sessions/a%20b"])
        }
    }

    @Test("names that a path cannot have are refused", arguments: ["", ".", ".."])
    func names(name: String) async throws {
        try await withSessions([]) { sessions, _ in
            var failure: CommandFailure?
            do throws(CommandFailure) { _ = try await sessions.show(name) } catch { failure = error }
            #expect(failure?.exitClass == .usage)
        }
    }
}
