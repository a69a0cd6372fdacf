import Testing

@testable import AdminConsole

/// Runs the body against a server with these answers.
private func withTopics(
    _ answers: [CannedServer.Answer],
    _ body: (TopicAPI, CannedServer) async throws -> Void
) async throws {
    try await CannedServer.run(answers) { server, port in
        try await body(TopicAPI(exchange: ServerExchange(server: try ServerURL("http://127.0.0.1:\(port)"))), server)
    }
}

/// The failure of showing a topic when this is the answer.
private func failure(
    _ answer: CannedServer.Answer,
    timeout: Duration = .seconds(30)
) async throws -> CommandFailure? {
    var found: CommandFailure?
    try await withTopics([answer]) { topics, _ in
        var topics = topics
        topics.exchange.timeout = timeout
        topics.exchange.maxResponseSize = 4096
        do throws(CommandFailure) {
            _ = try await topics.show("factory")
        } catch {
            found = error
        }
    }
    return found
}

@Suite struct TopicAPITests {
    @Test("a topic is created by one request that can be repeated")
    func create() async throws {
        try await withTopics([.json(201, "{}"), .json(200, "{}")]) { topics, server in
            let first = try await topics.create("factory", partitions: 2, captures: ["factory/#", "a\"b"])
            let second = try await topics.create("f/1", partitions: 1, captures: [])
            #expect(first)
            #expect(!second)
            #expect(
                server.requests == [
                    #"PUT /v1/topics/factory {"partitions":2,"captures":["factory/#","a\"b"]}"#,
                    #"PUT /v1/topics/f%2F1 {"partitions":1,"captures":[]}"#,
                ]
            )
        }
    }

    @Test("a list goes on from page to page")
    func pages() async throws {
        let first =
            #"{"topics":[{"name":"a","partitions":1,"captures":["a/#"],"created_at":"t"}],"next_page_token":"x&y"}"#
        let second = #"{"topics":[{"name":"b","partitions":3,"captures":[],"extra":1}],"next_page_token":null}"#
        try await withTopics([.json(200, first), .json(200, second)]) { topics, server in
            let all = try await topics.list(limit: .max)
            #expect(server.requests == ["GET /v1/topics?limit=500", "GET /v1/topics?limit=500&page_token=x%26y"])
            #expect(
                OutputFormat.table.render(TopicAPI.listing(of: all), isTerminal: true, styled: false) == """
                    NAME  PARTITIONS  CAPTURES  CREATED AT
                    a              1  a/#       t
                    b              3

                    """
            )
        }
        try await withTopics([.json(200, first)]) { topics, server in
            let topics = try await topics.list(limit: 1)
            #expect(topics.count == 1)
            #expect(server.requests == ["GET /v1/topics?limit=1"])
        }
        try await withTopics([.json(200, first), .json(200, first)]) { topics, _ in
            await #expect(throws: CommandFailure.self, "pages that go in a circle") {
                try await topics.list(limit: .max)
            }
        }
    }

    @Test("a topic is shown with its partitions")
    func show() async throws {
        let body = """
            {"name":"factory","partitions":[{"index":0,"first_offset":5,"next_offset":9007199254740993}],
            "captures":["factory/#"],"created_at":"2026-11-21T14:05:33Z"}
            """
        try await withTopics([.json(200, body)]) { topics, server in
            let record = TopicAPI.record(of: try await topics.show("factory"))
            #expect(server.requests == ["GET /v1/topics/factory"])
            #expect(
                OutputFormat.json.render(record, isTerminal: false, styled: false)
                    == #"{"name":"factory","partitions":[{"index":0,"first_offset":5,"next_offset":9007199254740993}],"#
                    + #""captures":["factory/#"],"created_at":"2026-11-21T14:05:33Z"}"# + "\n"
            )
        }
    }

    @Test(
        "the exit code follows the status",
        arguments: [
            (400, CommandFailure.Class.failed), (401, .unauthorized), (403, .unauthorized), (404, .notFound),
            (409, .conflict), (412, .conflict), (500, .failed), (503, .failed), (504, .unreachable), (302, .failed),
        ]
    )
    func statuses(_ status: Int, _ expected: CommandFailure.Class) async throws {
        let body =
            #"{"type":"about:blank","title":"No","status":1,"detail":"topic factory…","code":"topic.x","hint":"do"}"#
        #expect(
            try await failure(.json(status, body, type: "application/problem+json"))
                == CommandFailure(expected, "cannot show topic factory", why: "topic factory… (topic.x)", hint: "do")
        )
    }

    @Test("an error without a problem body is told by its status")
    func plainErrors() async throws {
        for answer in [
            CannedServer.Answer.json(404, "<html>", type: "text/html"),
            .json(404, "not json", type: "application/problem+json"),
        ] {
            #expect(try await failure(answer)?.why == "the server answered with status 404")
        }
    }

    @Test("what is no answer of a Sluice server is refused with a sentence")
    func strangers() async throws {
        let wrongShape = try await failure(.json(200, #"{"name":3}"#))
        #expect(wrongShape?.exitClass == .failed)
        #expect(wrongShape?.why == "it is application/json with status 200")
        #expect(try await failure(.bytes("SSH-2.0-OpenSSH_9.2\r\n"))?.what.contains("does not answer in HTTP") == true)
        let large = try await failure(.json(200, String(repeating: "x", count: 5000)))
        #expect(large?.what.contains("larger than 4096 bytes") == true)
    }

    @Test("no answer, half an answer and no server are unreachable")
    func unreachable() async throws {
        let half = CannedServer.Answer.bytes("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        #expect(try await failure(half)?.exitClass == .unreachable)
        #expect(try await failure(.bytes(""))?.exitClass == .unreachable)
        #expect(try await failure(.silence, timeout: .milliseconds(100))?.exitClass == .unreachable)

        var port = 0
        try await CannedServer.run([]) { _, free in port = free }
        let gone = TopicAPI(exchange: ServerExchange(server: try ServerURL("http://127.0.0.1:\(port)")))
        do throws(CommandFailure) {
            _ = try await gone.show("factory")
            Issue.record("nobody listens there")
        } catch {
            #expect(error.exitClass == .unreachable)
            #expect(error.why == "Connection refused")
        }
    }

    @Test("a name that is no step of a path is refused before anything is sent", arguments: ["", ".", ".."])
    func names(_ name: String) async throws {
        try await withTopics([]) { topics, server in
            await #expect(throws: CommandFailure.self) { try await topics.show(name) }
            await #expect(throws: CommandFailure.self) {
                try await topics.create(name, partitions: 1, captures: [])
            }
            #expect(server.requests.isEmpty)
        }
    }
}
