import Testing

@testable import HTTPFront

@Suite("Topics over HTTP")
struct HTTPTopicTests {
    @Test("a topic is created once, described, listed in pages and deleted")
    func lifeOfATopic() async throws {
        try await HTTPTestServer.run { server in
            let settings = #"{"partitions":2,"captures":["factory/#"]}"#
            let created = try await server.request("PUT", "/v1/topics/plant%2Fnorth", body: settings)
            #expect(created.status == 201)
            #expect(created.fields["location"] == "/v1/topics/plant%2Fnorth")
            #expect(try created.json["name"] as? String == "plant/north")
            #expect(try await server.request("PUT", "/v1/topics/plant%2Fnorth", body: settings).status == 200)
            let other = try await server.request("PUT", "/v1/topics/plant%2Fnorth")
            #expect(other.status == 409)
            #expect(other.fields["content-type"] == "application/problem+json")
            #expect(try other.code == "already_exists")

            let described = try await server.request("GET", "/v1/topics/plant%2Fnorth").json
            #expect(
                (described["partitions"] as? [[String: Int]])?.last == [
                    "index": 1, "first_offset": 0, "next_offset": 0,
                ]
            )
            #expect(described["captures"] as? [String] == ["factory/#"])

            let first = try await server.request("GET", "/v1/topics?limit=1").json
            #expect((first["topics"] as? [[String: Any]])?.first?["name"] as? String == "default")
            let token = try #require(first["next_page_token"] as? String)
            let second = try await server.request("GET", "/v1/topics?limit=1&page_token=\(token)").json
            #expect((second["topics"] as? [[String: Any]])?.first?["name"] as? String == "plant/north")
            #expect(second["next_page_token"] == nil)

            #expect(try await server.request("DELETE", "/v1/topics/plant%2Fnorth").status == 204)
            let gone = try await server.request("GET", "/v1/topics/plant%2Fnorth")
            #expect(gone.status == 404)
            #expect(try gone.code == "topic_not_found")
        }
    }

    @Test("what is not known is refused with its place, its code and what is possible")
    func refusals() async throws {
        try await HTTPTestServer.run { server in
            let unknown = try await server.request("PUT", "/v1/topics/x", body: "{\n  \"partitons\": 1}")
            #expect(unknown.status == 400)
            #expect((try unknown.json["errors"] as? [[String: String]])?.first?["pointer"] == "/partitons")
            let malformed = try await server.request("PUT", "/v1/topics/x", body: "{\n  oops}")
            #expect((try malformed.json["detail"] as? String)?.contains("line 2, column 3") == true)
            #expect(try await server.request("PUT", "/v1/topics/%2Fx").code == "invalid_name")
            #expect(
                try await server.request("PUT", "/v1/topics/x", body: #"{"partitions":0}"#).code == "invalid_argument"
            )
            #expect(try await server.request("GET", "/v1/nothing").status == 404)
            #expect(try await server.request("GET", "/v1/topics?limits=1").status == 400)
            let method = try await server.request("PATCH", "/v1/topics/x")
            #expect(method.status == 405)
            #expect(method.fields["allow"] == "GET, HEAD, PUT, DELETE")
        }
    }

    @Test("the server says that it lives, is ready, and what it is")
    func health() async throws {
        var options = HTTPOptions()
        options.version = "1.2.3"
        try await HTTPTestServer.run(options: options) { server in
            #expect(try await server.request("GET", "/livez").status == 200)
            #expect(try await server.request("GET", "/readyz").json["status"] as? String == "ok")
            #expect(
                (try await server.request("GET", "/healthz").json["storage"] as? [String: Any])?["accepts_writes"]
                    as? Bool == true
            )
            #expect(try await server.request("GET", "/v1/version").json["version"] as? String == "1.2.3")
            let head = try await server.request("HEAD", "/livez")
            #expect(head.status == 200)
            #expect(head.fields["content-length"] == "15")
        }
    }
}
