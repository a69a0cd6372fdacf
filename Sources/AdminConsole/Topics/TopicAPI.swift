internal import OutboundHTTP

/// The part of the server's HTTP API that is about topics.
package struct TopicAPI: Sendable {
    package var exchange: ServerExchange

    /// Topics asked for at once: what the server gives at most.
    static let pageSize = 500

    package init(exchange: ServerExchange) {
        self.exchange = exchange
    }

    package struct Summary: Decodable, Sendable, Equatable {
        package var name: String
        package var partitions: Int
        package var captures: [String]
        package var createdAt: String?

        enum CodingKeys: String, CodingKey {
            case name, partitions, captures
            case createdAt = "created_at"
        }
    }

    package struct Description: Decodable, Sendable, Equatable {
        package struct Partition: Decodable, Sendable, Equatable {
            package var index: Int
            /// The oldest offset that is kept.
            package var firstOffset: Int64
            /// The offset that the next message gets.
            package var nextOffset: Int64

            enum CodingKeys: String, CodingKey {
                case index
                case firstOffset = "first_offset"
                case nextOffset = "next_offset"
            }
        }

        package var name: String
        package var partitions: [Partition]
        package var captures: [String]
        package var retention: String?
        package var maxAgeMs: UInt64?
        package var maxBytes: UInt64?
        package var deduplicationMs: UInt64?
        package var maxDelayMs: UInt64?
        package var createdAt: String?

        enum CodingKeys: String, CodingKey {
            case name, partitions, captures, retention
            case maxAgeMs = "max_age_ms"
            case maxBytes = "max_bytes"
            case deduplicationMs = "deduplication_ms"
            case maxDelayMs = "max_delay_ms"
            case createdAt = "created_at"
        }
    }

    /// What a topic keeps; nil for the server's default.
    package struct Policy: Sendable, Equatable {
        package var retention: String?
        package var maxAge: DurationText?
        package var maxBytes: SizeText?
        package var deduplication: DurationText?
        package var maxDelay: DurationText?
        package init() {}

        fileprivate var fields: [(String, OutputValue)] {
            func milliseconds(_ key: String, _ length: DurationText?) -> (String, OutputValue)? {
                length.map { (key, .integer(Int64(clamping: $0.microseconds / 1_000))) }
            }
            return [
                retention.map { ("retention", .text($0)) }, milliseconds("max_age_ms", maxAge),
                maxBytes.map { ("max_bytes", .integer(Int64(clamping: $0.bytes))) },
                milliseconds("deduplication_ms", deduplication), milliseconds("max_delay_ms", maxDelay),
            ].compactMap { $0 }
        }
    }

    private struct Page: Decodable {
        var topics: [Summary]
        var nextPageToken: String?

        enum CodingKeys: String, CodingKey {
            case topics
            case nextPageToken = "next_page_token"
        }
    }

    /// Makes sure that the topic is there as described.
    /// - Returns: Whether it was created; false when it was there.
    package func create(
        _ name: String,
        partitions: Int,
        captures: [String],
        policy: Policy = Policy()
    ) async throws(CommandFailure) -> Bool {
        let what = "create topic \(name)"
        try requireName(name, toDo: "create a topic")
        var body = JSONWriter()
        body.append(object: [("partitions", .integer(partitions)), ("captures", .list(captures))] + policy.fields)
        let response = try await exchange.send(HTTPRequest(.put, ["v1", "topics", name], body: body.text))
        try response.requireSuccess(toDo: what)
        return response.status == 201
    }

    /// At most `limit` topics, page by page.
    package func list(limit: Int) async throws(CommandFailure) -> [Summary] {
        var topics: [Summary] = []
        var token: String?
        while topics.count < limit {
            var query = [(name: "limit", value: String(min(Self.pageSize, limit - topics.count)))]
            if let token { query.append(("page_token", token)) }
            let response = try await exchange.send(HTTPRequest(.get, ["v1", "topics"], query: query))
            let page = try response.decoded(Page.self, toDo: "list topics")
            topics += page.topics.prefix(limit - topics.count)
            guard let next = page.nextPageToken, !next.isEmpty else { break }
            // An answer that leads back to itself would never end.
            guard next != token, !page.topics.isEmpty else {
                throw CommandFailure(.failed, "cannot list topics", why: "the server's pages do not advance")
            }
            token = next
        }
        return topics
    }

    package func show(_ name: String) async throws(CommandFailure) -> Description {
        try requireName(name, toDo: "show a topic")
        let response = try await exchange.send(HTTPRequest(.get, ["v1", "topics", name]))
        return try response.decoded(Description.self, toDo: "show topic \(name)")
    }

    /// An empty step of a path would name the collection; `.` and `..` would be resolved on the way.
    private func requireName(_ name: String, toDo what: String) throws(CommandFailure) {
        guard !name.isEmpty, name != ".", name != ".." else {
            throw CommandFailure(.usage, "cannot \(what)", why: "'\(name)' is no name of a topic")
        }
    }
}

extension TopicAPI {
    package static func listing(of topics: [Summary]) -> Listing {
        Listing(
            columns: [
                .init("name"), .init("partitions", alignment: .right), .init("captures"), .init("created_at"),
            ],
            rows: topics.map { topic in
                [
                    .text(topic.name), .integer(topic.partitions), .list(topic.captures),
                    topic.createdAt.map(OutputValue.text) ?? .none,
                ]
            }
        )
    }

    package static func record(of topic: Description) -> Record {
        let partitions = Listing(
            columns: [
                .init("index", title: "PARTITION", alignment: .right), .init("first_offset", alignment: .right),
                .init("next_offset", alignment: .right),
            ],
            rows: topic.partitions.map { [.integer($0.index), .integer($0.firstOffset), .integer($0.nextOffset)] }
        )
        func length(_ key: String, _ milliseconds: UInt64?) -> Record.Field? {
            milliseconds.map { .init(key, .text(DurationText.format(microseconds: $0 &* 1_000))) }
        }
        let policy: [Record.Field?] = [
            topic.retention.map { .init("retention", .text($0)) },
            length("max_age", topic.maxAgeMs),
            topic.maxBytes.map { .init("max_bytes", .integer(Int64(clamping: $0))) },
            length("deduplication", topic.deduplicationMs),
            length("max_delay", topic.maxDelayMs),
        ]
        return Record(
            [
                .init("name", .text(topic.name)),
                .init("partitions", .listing(partitions)),
                .init("captures", .list(topic.captures)),
            ] + policy.compactMap { $0 } + [
                .init("created_at", topic.createdAt.map(OutputValue.text) ?? .none)
            ]
        )
    }
}
