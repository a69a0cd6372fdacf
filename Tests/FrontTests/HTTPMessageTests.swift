import Testing

@testable import HTTPFront

@Suite("Messages over HTTP")
struct HTTPMessageTests {
    private static let json = ["content-type": "application/json"]

    @Test("a message in the JSON form comes back with all its properties")
    func properties() async throws {
        try await HTTPTestServer.run { server in
            _ = try await server.request("PUT", "/v1/topics/orders")
            let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            let body = """
                {"messages":[{"body":"hällo","name":"orders/eu/created","ordering_key":"o","key":"k","tag":"t","ttl":"30s",
                "headers":{"b":"1","a":["2","3"]},"content_type":"text/plain","correlation_id":{"base64":"/w=="},
                "reply_to":"r","message_id":"m","priority":7},
                {"routing_key":"us","body":{"n":1.50}},{"body":"AP8=","encoding":"base64"}]}
                """
            let fields = Self.json.merging(["traceparent": trace]) { $1 }
            let published = try await server.request("POST", "/v1/topics/orders/messages", fields, body: body)
            #expect(published.status == 200, "\(published.body)")
            let results = try #require(try published.json["results"] as? [[String: Any]])
            #expect(results.map { $0["offset"] as? Int } == [0, 1, 2])
            #expect(results[0]["id"] as? String == "m")
            #expect(try published.json["failed"] as? Int == 0)

            let reply = try await server.request("GET", "/v1/topics/orders/messages")
            let messages = try reply.messages
            #expect(messages.count == 3)
            let first = messages[0]
            #expect(first["name"] as? String == "orders/eu/created")
            #expect(first["routing_key"] as? String == "eu/created")
            #expect(first["ordering_key"] as? String == "o")
            #expect(first["keys"] as? [String] == ["k"])
            #expect(first["tag"] as? String == "t")
            #expect(first["content_type"] as? String == "text/plain")
            #expect((first["correlation_id"] as? [String: String]) == ["base64": "/w=="])
            #expect(first["reply_to"] as? String == "r")
            #expect(first["message_id"] as? String == "m")
            #expect(first["priority"] as? Int == 7)
            #expect(first["traceparent"] as? String == trace)
            #expect(first["origin"] as? String == "http")
            #expect(first["expires_at"] != nil)
            #expect((first["headers"] as? [String: Any])?["b"] as? String == "1")
            #expect((first["headers"] as? [String: Any])?["a"] as? [String] == ["2", "3"])
            #expect(first["encoding"] as? String == "utf8")
            #expect(first["body"] as? String == "hällo")
            #expect(messages[1]["name"] as? String == "orders/us")
            #expect(messages[1]["encoding"] as? String == "json")
            #expect(reply.body.contains(#""body":{"n":1.50}"#))
            #expect(messages[2]["name"] as? String == "orders")
            #expect(messages[2]["body"] as? String == "AP8=")
            #expect(try reply.json["next_offset"] as? Int == 3)
            #expect(try reply.json["end_offset"] as? Int == 3)
        }
    }

    @Test("a plain body is one message, and comes back plain")
    func plain() async throws {
        try await HTTPTestServer.run { server in
            _ = try await server.request("PUT", "/v1/topics/orders")
            let fields = [
                "content-type": "text/csv", "sluice-routing-key": "eu", "sluice-tag": "t",
                "sluice-header-source": "web",
                "sluice-ttl": "5m",
            ]
            let posted = try await server.request(
                "POST",
                "/v1/topics/orders/messages?ack=received",
                fields,
                body: "a;b"
            )
            #expect(posted.status == 201)
            let location = try #require(posted.fields["location"])
            #expect(location == "/v1/topics/orders/messages?partition=0&from=0&limit=1")
            let wait = location + "&wait=5s"
            let read = try await server.request("GET", wait, ["accept": "application/octet-stream"])
            #expect(read.body == "a;b")
            #expect(read.fields["content-type"] == "text/csv")
            #expect(read.fields["sluice-name"] == "orders/eu")
            #expect(read.fields["sluice-tag"] == "t")
            #expect(read.fields["sluice-header-source"] == "web")
            #expect(read.fields["sluice-next-offset"] == "1")
            let none = try await server.request(
                "GET",
                "/v1/topics/orders/messages?from=next",
                ["accept": "application/octet-stream"]
            )
            #expect(none.status == 204)
            let typo = try await server.request("POST", "/v1/topics/orders/messages", ["sluice-tags": "t"], body: "x")
            #expect(typo.status == 400)
        }
    }

    @Test("what cannot be published is refused as a whole, with its place")
    func refusals() async throws {
        try await HTTPTestServer.run { server in
            _ = try await server.request("PUT", "/v1/topics/orders")
            _ = try await server.request("PUT", "/v1/topics/orders%2Feu")
            let cases: [(String, String)] = [
                (#"{"messages":[{"body":"x"},{"bdoy":"y"}]}"#, "/messages/1/bdoy"),
                (#"{"messages":[{"body":1,"encoding":"utf8"}]}"#, "/messages/0/body"),
                (#"{"messages":[{"ttl":"30"}]}"#, "/messages/0/ttl"),
                (#"{"messages":[{"priority":256}]}"#, "/messages/0/priority"),
                (#"{"messages":[{"name":"orders/+"}]}"#, "/messages/0"),
                (#"{"messages":[{"name":"other"}]}"#, "/messages/0"),
                (#"{"messages":[{},{"routing_key":"eu/x"}]}"#, "/messages/1"),
                (#"{"messages":[{"name":"orders","routing_key":"x"}]}"#, "/messages/0"),
                (#"{"messages":[]}"#, ""),
            ]
            for (body, pointer) in cases {
                let reply = try await server.request("POST", "/v1/topics/orders/messages", Self.json, body: body)
                #expect(reply.status == 400, "\(body)")
                #expect(
                    (try reply.json["errors"] as? [[String: String]])?.first?["pointer"] == pointer,
                    "\(reply.body)"
                )
            }
            let many = "{\"messages\":[" + Array(repeating: "{}", count: 1_001).joined(separator: ",") + "]}"
            #expect(try await server.request("POST", "/v1/topics/orders/messages", Self.json, body: many).status == 400)
            #expect(try await server.request("POST", "/v1/topics/nobody/messages", body: "x").status == 404)
            #expect(try await server.request("POST", "/v1/messages", body: "x").status == 400)
            let ends = try await server.request("GET", "/v1/topics/orders/messages").json["end_offset"]
            #expect(ends as? Int == 0)
        }
    }

    @Test("a message published by its full name is found by the names of its topic")
    func byName() async throws {
        try await HTTPTestServer.run { server in
            _ = try await server.request("PUT", "/v1/topics/plant", body: #"{"captures":["factory/#"]}"#)
            try await server.publish("/v1/messages?name=factory/line1/temp", "22.5")
            try await server.publish("/v1/messages?name=factory/line2/temp", "23.5")
            try await server.publish("/v1/messages?name=elsewhere", "1")
            let one = try await server.request("GET", "/v1/messages?name=factory/line2/temp").messages
            #expect(one.map { $0["body"] as? String } == ["23.5"])
            #expect(one.first?["topic"] as? String == "plant")
            #expect(one.first?["routing_key"] == nil)
            let all = try await server.request("GET", "/v1/topics/plant/messages?name=factory/%2B/temp").messages
            #expect(all.map { $0["name"] as? String } == ["factory/line1/temp", "factory/line2/temp"])
            let other = try await server.request("GET", "/v1/messages?name=elsewhere").messages
            #expect(other.first?["topic"] as? String == "default")
            #expect(try await server.request("GET", "/v1/messages").status == 400)
        }
    }

    @Test("a read begins where it is told to and says where the next begins")
    func positions() async throws {
        try await HTTPTestServer.run { server in
            _ = try await server.request("PUT", "/v1/topics/log")
            for number in 0..<5 { try await server.publish("/v1/topics/log/messages", "\(number)") }
            let part = try await server.request("GET", "/v1/topics/log/messages?from=1&limit=2")
            #expect(try part.messages.map { $0["body"] as? String } == ["1", "2"])
            #expect(try part.json["next_offset"] as? Int == 3)
            #expect(try await server.request("GET", "/v1/topics/log/messages?from=next").messages.isEmpty)
            #expect(try await server.request("GET", "/v1/topics/log/messages?from=-5m").messages.count == 5)
            let stored = try #require(try part.messages[0]["stored_at"] as? String)
            let since = try await server.request("GET", "/v1/topics/log/messages?from=\(stored)").messages
            #expect(since.first?["body"] as? String == "1")
            #expect(try await server.request("GET", "/v1/topics/log/messages?from=6").status == 416)
            #expect(try await server.request("GET", "/v1/topics/log/messages?from=soon").status == 400)
            #expect(try await server.request("GET", "/v1/topics/log/messages?wait=61s").status == 400)
            #expect(try await server.request("GET", "/v1/topics/log/messages?partition=1").status == 404)
            _ = try await server.request("PUT", "/v1/topics/wide", body: #"{"partitions":2}"#)
            #expect(try await server.request("GET", "/v1/topics/wide/messages").status == 400)
        }
    }

    @Test("a waiting read wakes with the first message that matches")
    func longPoll() async throws {
        try await HTTPTestServer.run { server in
            _ = try await server.request("PUT", "/v1/topics/orders")
            async let waiting = server.request("GET", "/v1/topics/orders/messages?wait=60s&name=orders/eu/%2B")
            try await server.waitForWaits(1)
            try await server.publish("/v1/topics/orders/messages", "no", ["sluice-routing-key": "us/1"])
            try await server.publish("/v1/topics/orders/messages", "yes", ["sluice-routing-key": "eu/1"])
            let reply = try await waiting
            #expect(try reply.messages.map { $0["body"] as? String } == ["yes"])
            #expect(try reply.json["next_offset"] as? Int == 2)
            let empty = try await server.request("GET", "/v1/topics/orders/messages?from=next&wait=10ms")
            #expect(empty.status == 200)
            #expect(try empty.messages.isEmpty)
        }
    }
}
