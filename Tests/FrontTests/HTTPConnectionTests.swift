import Testing

@testable import HTTPFront

@Suite("Connections of the HTTP front")
struct HTTPConnectionTests {
    @Test("a read that waits is withdrawn when its caller goes away")
    func disconnect() async throws {
        try await HTTPTestServer.run { server in
            let wait = HTTPTestConnection.text("GET", "/v1/topics/default/messages?wait=60s")
            try await HTTPTestConnection.open(port: server.port) { connection in
                try await connection.send(wait)
                try await server.waitForWaits(1)
            }
            try await server.waitForWaits(0)
        }
    }

    @Test("too many waiting reads are refused as busy")
    func manyWaits() async throws {
        var options = HTTPOptions()
        options.maxWaitingReads = 1
        try await HTTPTestServer.run(options: options) { server in
            try await HTTPTestConnection.open(port: server.port) { connection in
                try await connection.send(HTTPTestConnection.text("GET", "/v1/topics/default/messages?wait=60s"))
                try await server.waitForWaits(1)
                let second = try await server.request("GET", "/v1/topics/default/messages?wait=60s")
                #expect(second.status == 503)
                #expect(second.fields["retry-after"] == "1")
            }
        }
    }

    @Test("a server that stops answers those who wait")
    func stop() async throws {
        try await HTTPTestServer.run(stops: false) { server in
            async let waiting = server.request("GET", "/v1/topics/default/messages?wait=60s")
            try await server.waitForWaits(1)
            await server.server.stop()
            let reply = try await waiting
            #expect(reply.status == 200)
            #expect(try reply.messages.isEmpty)
        }
    }

    @Test("requests on one connection are answered in their order")
    func pipeline() async throws {
        try await HTTPTestServer.run { server in
            try await HTTPTestConnection.open(port: server.port) { connection in
                try await connection.send(
                    HTTPTestConnection.text("GET", "/livez") + HTTPTestConnection.text("POST", "/v1/no", body: "abc")
                        + HTTPTestConnection.text("GET", "/v1/topics/default")
                )
                #expect(try await connection.reply().status == 200)
                #expect(try await connection.reply().status == 404)
                #expect(try await connection.reply().json["name"] as? String == "default")
            }
        }
    }

    @Test("a caller who expects it is told to continue, unless the body is too large")
    func expectContinue() async throws {
        var options = HTTPOptions()
        options.maxBodyBytes = 1_000
        try await HTTPTestServer.run(options: options) { server in
            @Sendable func head(_ length: Int) -> String {
                "POST /v1/messages?name=a HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: \(length)\r\n\r\n"
            }
            try await HTTPTestConnection.open(port: server.port) { connection in
                try await connection.send(head(3))
                #expect(try await connection.reply().status == 100)
                try await connection.send("abc")
                #expect(try await connection.reply().status == 201)
                try await connection.send(head(1_001))
                let refused = try await connection.reply()
                #expect(refused.status == 413)
                #expect(refused.fields["connection"] == "close")
                #expect(try await connection.isClosed())
            }
        }
    }

    @Test("a chunked body is read to its end, and refused as soon as it is too large")
    func chunked() async throws {
        var options = HTTPOptions()
        options.maxBodyBytes = 10
        try await HTTPTestServer.run(options: options) { server in
            let head = "POST /v1/messages?name=a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            try await HTTPTestConnection.open(port: server.port) { connection in
                try await connection.send(head + "3\r\nabc\r\n")
                try await connection.send("4\r\ndefg\r\n0\r\n\r\n")
                #expect(try await connection.reply().status == 201)
                try await connection.send(head + "b\r\nabcdefghijk\r\n")
                #expect(try await connection.reply().status == 413)
            }
            let stored = try await server.request("GET", "/v1/messages?name=a").messages
            #expect(stored.map { $0["body"] as? String } == ["abcdefg"])
        }
    }

    @Test(
        "a request that is cut off in its body stores nothing",
        arguments: ["content-length: 10\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"]
    )
    func cutOff(rest: String) async throws {
        try await HTTPTestServer.run { server in
            try await HTTPTestConnection.open(port: server.port) { connection in
                try await connection.send("POST /v1/messages?name=a HTTP/1.1\r\nhost: x\r\n" + rest)
                connection.finish()
                #expect(try await connection.isClosed())
            }
            #expect(try await server.request("GET", "/v1/topics/default/messages").json["end_offset"] as? Int == 0)
        }
    }

    @Test("what is not HTTP and what is too large is refused, and the connection ends")
    func notHTTP() async throws {
        var options = HTTPOptions()
        options.maxHeaderBytes = 2_000
        try await HTTPTestServer.run(options: options) { server in
            let cases = [
                ("garbage\r\n\r\n", 400),
                ("GET /livez HTTP/1.1\r\nhost: x\r\nx: \(String(repeating: "a", count: 3_000))\r\n\r\n", 431),
                (
                    "POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
                    400
                ),
            ]
            for (text, status) in cases {
                try await HTTPTestConnection.open(port: server.port) { connection in
                    try await connection.send(text)
                    let reply = try await connection.reply()
                    #expect(reply.status == status)
                    #expect(reply.fields["content-type"] == "application/problem+json")
                    #expect(try await connection.isClosed())
                }
            }
        }
    }

    @Test("a request that does not arrive in time is answered and cut off")
    func slow() async throws {
        var options = HTTPOptions()
        options.requestTimeoutMilliseconds = 20
        try await HTTPTestServer.run(options: options) { server in
            try await HTTPTestConnection.open(port: server.port) { connection in
                try await connection.send(
                    "POST /v1/messages?name=a HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc"
                )
                #expect(try await connection.reply().status == 408)
                #expect(try await connection.isClosed())
            }
        }
    }

    @Test("an address that is in use is refused with its reason")
    func inUse() async throws {
        try await HTTPTestServer.run { server in
            await #expect(throws: (any Error).self) {
                let second = try await server.startAnother(port: server.port)
                await second.stop()
            }
        }
    }
}
