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
                    case "retention":
                        let word = try reader.readString("'retention'")
                        guard let retention = TopicPolicy.Retention(word: word) else {
                            throw reader.invalid("'retention' is limits, subscriptions or compacted")
                        }
                        specification.policy.retention = retention
                    case "max_age_ms":
                        specification.policy.maxAgeMicroseconds = try reader.readMilliseconds("'max_age_ms'")
                    case "max_bytes":
                        specification.policy.maxBytes = try reader.readUnsigned("'max_bytes'")
                    case "deduplication_ms":
                        specification.policy.deduplicationMicroseconds = try reader.readMilliseconds(
                            "'deduplication_ms'"
                        )
                    case "max_delay_ms":
                        specification.policy.maxDelayMicroseconds = try reader.readMilliseconds("'max_delay_ms'")
                    default:
                        throw reader.invalid(
                            "'\(name)' is not known; known are partitions, captures, retention, max_age_ms, max_bytes, "
                                + "deduplication_ms and max_delay_ms"
                        )
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
            writer.member("retention", topic.policy.retention.word)
            writer.member("max_age_ms", topic.policy.maxAgeMicroseconds / 1_000)
            writer.member("max_bytes", topic.policy.maxBytes)
            writer.member("deduplication_ms", topic.policy.deduplicationMicroseconds / 1_000)
            writer.member("max_delay_ms", topic.policy.maxDelayMicroseconds / 1_000)
            writer.member("created_at", TimeText.format(topic.createdAt))
        }
    }

    /// Storage answered with something that does not belong to the request.
    func unexpectedReply() -> Problem { Problem(.internal, "storage gave an answer to another question") }
}

extension TopicPolicy.Retention {
    fileprivate var word: String {
        switch self {
        case .limits: "limits"
        case .subscriptions: "subscriptions"
        case .compacted: "compacted"
        }
    }

    fileprivate init?(word: String) {
        guard let found = Self.allCases.first(where: { $0.word == word }) else { return nil }
        self = found
    }
}

extension JSONReader {
    /// A number of milliseconds as µs; more than fits is as much as fits.
    fileprivate mutating func readMilliseconds(_ what: String) throws(JSONError) -> UInt64 {
        let (result, overflow) = try readUnsigned(what).multipliedReportingOverflow(by: 1_000)
        return overflow ? .max : result
    }
}
