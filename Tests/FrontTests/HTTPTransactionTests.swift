import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization
import Testing

@testable import HTTPFront

@Suite struct HTTPTransactionTests {
    /// Begins a transaction and returns its id.
    private func begin(_ server: HTTPTestServer, _ body: String = "") async throws -> String {
        let reply = try await server.request("POST", "/v1/transactions", body: body)
        #expect(reply.status == 201, "\(reply.body)")
        return try #require(try reply.json["id"] as? String)
    }

    private func bodies(_ server: HTTPTestServer, _ topic: String) async throws -> [String] {
        try await server.request("GET", "/v1/topics/\(topic)/messages").messages.compactMap { $0["body"] as? String }
    }

    @Test("what is published in a transaction appears with its commit, in all topics at once")
    func commit() async throws {
        try await HTTPTestServer.run { server in
            for topic in ["a", "b"] { _ = try await server.request("PUT", "/v1/topics/\(topic)") }
            let id = try await begin(server)
            let plain = try await server.request("POST", "/v1/topics/a/messages?transaction=\(id)", body: "one")
            #expect(plain.status == 202)
            #expect(try plain.json["offset"] == nil)
            let json = try await server.request(
                "POST",
                "/v1/messages?transaction=\(id)",
                ["content-type": "application/json"],
                body: #"{"messages":[{"name":"b","body":"two"},{"name":"a","body":"three"}]}"#
            )
            #expect(json.status == 200, "\(json.body)")
            #expect(try await bodies(server, "a").isEmpty)
            let commit = try await server.request("POST", "/v1/transactions/\(id)/commit")
            #expect(commit.status == 200)
            #expect(try commit.json["state"] as? String == "committed")
            #expect(try await bodies(server, "a").sorted() == ["one", "three"])
            #expect(try await bodies(server, "b") == ["two"])
            #expect(try await server.request("POST", "/v1/transactions/\(id)/commit").status == 404)
        }
    }

    @Test("what is published in a transaction that is rolled back never appears")
    func rollBack() async throws {
        try await HTTPTestServer.run { server in
            _ = try await server.request("PUT", "/v1/topics/a")
            let id = try await begin(server, #"{"check_after":"30s","checks":2}"#)
            _ = try await server.request("POST", "/v1/topics/a/messages?transaction=\(id)", body: "one")
            let reply = try await server.request("POST", "/v1/transactions/\(id)/rollback")
            #expect(try reply.json["state"] as? String == "rolled_back")
            let late = try await server.request("POST", "/v1/topics/a/messages?transaction=\(id)", body: "two")
            #expect(late.status == 404)
            #expect(try await bodies(server, "a").isEmpty)
        }
    }

    @Test("wrong requests about transactions are refused and say why")
    func refused() async throws {
        var options = HTTPOptions()
        options.callbackAddresses = [("127.0.0.1", 9)]
        try await HTTPTestServer.run(options: options) { server in
            for (body, status) in [
                (#"{"callback":"https://127.0.0.1/x"}"#, 400), (#"{"callback":""}"#, 400),
                (#"{"callback":"http://127.0.0.1:10/x"}"#, 403), (#"{"callback":"http://user@127.0.0.1:9/x"}"#, 400),
                (#"{"callback":"http://127.0.0.1:9/a b"}"#, 400), (#"{"check_after":"1ms"}"#, 400),
                (#"{"check_after":5}"#, 400), (#"{"owner":"x"}"#, 400), ("[]", 400),
            ] {
                let reply = try await server.request("POST", "/v1/transactions", body: body)
                #expect(reply.status == status, "\(body): \(reply.body)")
            }
            #expect(try await server.request("POST", "/v1/transactions/x/commit").status == 404)
            #expect(try await server.request("POST", "/v1/transactions/77/rollback").status == 404)
            #expect(try await server.request("GET", "/v1/transactions").status == 405)
        }
    }

    @Test("an application is asked until it says what became of its transaction", arguments: ["commit", "rollback"])
    func callback(outcome: String) async throws {
        try await AnsweringServer.run(["{}", #"{"outcome":"unknown"}"#, #"{"outcome":"\#(outcome)"}"#]) { application in
            var options = HTTPOptions()
            options.callbackAddresses = [("127.0.0.1", 0)]
            try await HTTPTestServer.run(options: options) { server in
                _ = try await server.request("PUT", "/v1/topics/a")
                let address = "http://127.0.0.1:\(application.port)/check?of=a"
                let id = try await begin(server, #"{"callback":"\#(address)","check_after":"20ms","checks":1000}"#)
                _ = try await server.request("POST", "/v1/topics/a/messages?transaction=\(id)", body: "one")
                while true {
                    // Rolling back what has ended is refused; before that it would end it, so this only looks.
                    let late = try await server.request("POST", "/v1/topics/a/messages?transaction=\(id)", body: "two")
                    if late.status == 404 { break }
                    try await Task.sleep(for: .milliseconds(5))
                }
                let found = try await bodies(server, "a")
                #expect(outcome == "commit" ? found.first == "one" : found.isEmpty)
                let questions = application.requests
                #expect(questions.count >= 3)
                #expect(questions.allSatisfy { $0 == "POST /check?of=a {\"transaction\":\"\(id)\"}" }, "\(questions)")
            }
        }
    }

    @Test(
        "an address that is called back is http with a host",
        arguments: [
            ("http://a/b", "a", 80, "/b"), ("http://A:81", "a", 81, "/"), ("http://[::1]:9/x?y=1", "::1", 9, "/x?y=1"),
            ("http://a?q", "a", 80, "/?q"),
        ]
    )
    func address(text: String, host: String, port: Int, target: String) throws {
        let url = try #require(CallbackURL(text))
        #expect(url.host == host && url.port == port && url.target == target)
    }

    @Test(
        "what cannot be called is no address",
        arguments: [
            "", "http://", "http://:80/", "http://a:0/", "http://a:65536/", "http://a:x/", "http://a/#b",
            "http://[::1/",
            "http://[::1]x/", "http://a\r\nb/", "ftp://a/", "http://b@a/",
        ]
    )
    func noAddress(text: String) {
        #expect(CallbackURL(text) == nil)
    }
}

/// An application that answers requests with these bodies, one after the other, and the last for ever.
private final class AnsweringServer: Sendable {
    private let answers: [String]
    private let received = Mutex<[String]>([])
    private let bound = Mutex(0)

    var port: Int { bound.withLock { $0 } }
    var requests: [String] { received.withLock { $0 } }

    private init(_ answers: [String]) { self.answers = answers }

    static func run(_ answers: [String], _ body: (AnsweringServer) async throws -> Void) async throws {
        let server = AnsweringServer(answers)
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Answerer(server))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        server.bound.withLock { $0 = channel.localAddress?.port ?? 0 }
        var failure: (any Error)?
        do { try await body(server) } catch { failure = error }
        try await channel.close()
        if let failure { throw failure }
    }

    /// Notes a request and chooses its answer.
    func answer(to request: String) -> String {
        received.withLock { requests in
            requests.append(request)
            return answers[min(requests.count, answers.count) - 1]
        }
    }

    private final class Answerer: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let server: AnsweringServer
        private var request = ""

        init(_ server: AnsweringServer) { self.server = server }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .head(let head): request = "\(head.method.rawValue) \(head.uri) "
            case .body(let part): request += String(buffer: part)
            case .end:
                let body = server.answer(to: request)
                let head = HTTPResponseHead(
                    version: .http1_1,
                    status: .ok,
                    headers: ["content-length": String(body.utf8.count)]
                )
                context.write(wrapOutboundOut(.head(head)), promise: nil)
                context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: body)))), promise: nil)
                context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
            }
        }
    }
}
