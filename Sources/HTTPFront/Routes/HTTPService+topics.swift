internal import HTTPTypes
internal import MessageModel
internal import StorageService

/// Topics: create, describe, list, delete.
extension HTTPService {
    func createTopic(_ name: String, _ target: RequestTarget, _ call: HTTPCall) async throws -> Reply {
        try target.allow()
        let body = try await call.body()
        let specification = try Self.specification(name, body, mediaType: call.mediaType)
        guard case .topicCreated(let topic, let isNew) = try await bridge.perform(.createTopic(specification)) else {
            throw unexpectedReply()
        }
        var reply = describe(topic, status: isNew ? 201 : 200)
        if isNew { reply.headers[.location] = "/v1/topics/" + RequestTarget.encode(name) }
        return reply
    }

    private static func specification(
        _ name: String,
        _ body: [UInt8],
        mediaType: String
    ) throws(Problem) -> TopicSpecification {
        var specification = TopicSpecification(name: name)
        guard !body.isEmpty else { return specification }
        guard mediaType.isEmpty || mediaType == "application/json" || mediaType == "application/x-www-form-urlencoded"
        else {
            throw Problem(
                .invalidArgument,
                "a topic's settings are JSON, not \(mediaType)",
                hint: "Content-Type: application/json",
                status: 415,
                title: "Unsupported media type"
            )
        }
        let result: Result<TopicSpecification, Problem> = body.withUnsafeBytes { bytes in
            var reader = JSONReader(bytes)
            do throws(JSONError) {
                try reader.readObject("the body") { reader, name throws(JSONError) in
                    switch name {
                    case "partitions":
                        specification.partitions = Int(clamping: try reader.readUnsigned("'partitions'"))
                    case "captures":
                        try reader.readArray("'captures'") { reader, index throws(JSONError) in
                            guard index < Limits.capturesPerTopic else {
                                throw reader.invalid("a topic has at most \(Limits.capturesPerTopic) captures")
                            }
                            specification.captures.append(try reader.readString("a capture"))
                        }
                    default:
                        throw reader.invalid("'\(name)' is not known; known are partitions and captures")
                    }
                }
                try reader.end()
            } catch {
                return .failure(Problem(error, in: bytes))
            }
            return .success(specification)
        }
        return try result.get()
    }

    func describeTopic(_ name: String, _ target: RequestTarget) async throws -> Reply {
        try target.allow()
        return describe(try await topic(name), status: 200)
    }

    func topic(_ name: String) async throws -> TopicDescription {
        guard case .topic(let topic) = try await bridge.perform(.describeTopic(name: name)) else {
            throw unexpectedReply()
        }
        return topic
    }

    func deleteTopic(_ name: String, _ target: RequestTarget) async throws -> Reply {
        try target.allow()
        _ = try await bridge.perform(.deleteTopic(name: name))
        return .noContent
    }

    func listTopics(_ target: RequestTarget) async throws -> Reply {
        try target.allow("limit", "page_token")
        let limit = try target.number("limit", in: 1...HTTPLimits.topicsPerPage) ?? HTTPLimits.defaultTopicsPerPage
        let request = StorageRequest.listTopics(after: target["page_token"], limit: limit)
        guard case .topics(let topics, let next) = try await bridge.perform(request) else { throw unexpectedReply() }
        return Reply.json { writer in
            writer.array("topics") { writer in
                for topic in topics {
                    writer.object { writer in
                        writer.member("name", topic.name)
                        writer.member("partitions", topic.partitions.count)
                        writer.member("captures", strings: topic.captures)
                        writer.member("created_at", TimeText.format(topic.createdAt))
                    }
                }
            }
            if let next { writer.member("next_page_token", next) }
        }
    }

    private func describe(_ topic: TopicDescription, status: Int) -> Reply {
        Reply.json(status: status) { writer in
            writer.member("name", topic.name)
            writer.array("partitions") { writer in
                for (index, partition) in topic.partitions.enumerated() {
                    writer.object { writer in
                        writer.member("index", index)
                        writer.member("first_offset", partition.firstOffset)
                        writer.member("next_offset", partition.nextOffset)
                    }
                }
            }
            writer.member("captures", strings: topic.captures)
            writer.member("created_at", TimeText.format(topic.createdAt))
        }
    }

    /// Storage answered with something that does not belong to the request.
    func unexpectedReply() -> Problem { Problem(.internal, "storage gave an answer to another question") }
}
