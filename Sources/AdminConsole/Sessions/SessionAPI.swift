internal import OutboundHTTP

/// The part of the server's HTTP API that is about clients and their sessions.
package struct SessionAPI: Sendable {
    package var exchange: ServerExchange

    /// Sessions asked for at once: what the server gives at most.
    static let pageSize = 500

    package init(exchange: ServerExchange) {
        self.exchange = exchange
    }

    package struct Session: Decodable, Sendable, Equatable {
        package struct Subscription: Decodable, Sendable, Equatable {
            package var filter: String
            package var qos: Int
            package var noLocal: Bool
            package var retainAsPublished: Bool
            package var identifier: Int?

            enum CodingKeys: String, CodingKey {
                case filter, qos, identifier
                case noLocal = "no_local"
                case retainAsPublished = "retain_as_published"
            }
        }

        package struct Will: Decodable, Sendable, Equatable {
            package var topic: String
            package var delaySeconds: Int
            package var waiting: Bool

            enum CodingKeys: String, CodingKey {
                case topic, waiting
                case delaySeconds = "delay_s"
            }
        }

        package var client: String
        package var connected: Bool
        package var state: String
        package var protocolName: String?
        package var address: String?
        package var connectedAt: String?
        package var keepAliveSeconds: Int?
        package var unsentBytes: Int?
        package var stored: Bool
        package var expirySeconds: Int64
        package var queued: Int64
        package var inFlight: Int64
        package var unreleased: Int?
        package var uncompleted: Int?
        package var subscriptions: [Subscription]?
        package var will: Will?

        enum CodingKeys: String, CodingKey {
            case client, connected, state, address, stored, queued, unreleased, uncompleted, subscriptions, will
            case protocolName = "protocol"
            case connectedAt = "connected_at"
            case keepAliveSeconds = "keep_alive_s"
            case unsentBytes = "unsent_bytes"
            case expirySeconds = "expiry_s"
            case inFlight = "in_flight"
        }
    }

    private struct Page: Decodable {
        var sessions: [Session]
        var nextPageToken: String?

        enum CodingKeys: String, CodingKey {
            case sessions
            case nextPageToken = "next_page_token"
        }
    }

    /// At most `limit` sessions, page by page.
    package func list(limit: Int) async throws(CommandFailure) -> [Session] {
        var sessions: [Session] = []
        var token: String?
        while sessions.count < limit {
            var query = [(name: "limit", value: String(min(Self.pageSize, limit - sessions.count)))]
            if let token { query.append(("page_token", token)) }
            let response = try await exchange.send(HTTPRequest(.get, ["v1", "sessions"], query: query))
            let page = try response.decoded(Page.self, toDo: "list sessions")
            sessions += page.sessions.prefix(limit - sessions.count)
            guard let next = page.nextPageToken, !next.isEmpty else { break }
            // An answer that leads back to itself would never end.
            guard next != token else {
                throw CommandFailure(.failed, "cannot list sessions", why: "the server's pages do not advance")
            }
            token = next
        }
        return sessions
    }

    package func show(_ client: String) async throws(CommandFailure) -> Session {
        try requireName(client, toDo: "show a session")
        let response = try await exchange.send(HTTPRequest(.get, ["v1", "sessions", client]))
        return try response.decoded(Session.self, toDo: "show the session of \(client)")
    }

    /// Ends the client's connection, not its session.
    package func kick(_ client: String) async throws(CommandFailure) {
        try requireName(client, toDo: "disconnect a client")
        let response = try await exchange.send(HTTPRequest(.delete, ["v1", "sessions", client, "connection"]))
        try response.requireSuccess(toDo: "disconnect \(client)")
    }

    /// Ends the client's connection and its session, with all that waits in it.
    package func purge(_ client: String) async throws(CommandFailure) {
        try requireName(client, toDo: "purge a session")
        let response = try await exchange.send(HTTPRequest(.delete, ["v1", "sessions", client]))
        try response.requireSuccess(toDo: "purge the session of \(client)")
    }

    /// An empty step of a path would name the collection; `.` and `..` would be resolved on the way.
    private func requireName(_ client: String, toDo what: String) throws(CommandFailure) {
        guard !client.isEmpty, client != ".", client != ".." else {
            throw CommandFailure(.usage, "cannot \(what)", why: "'\(client)' cannot be named here")
        }
    }
}

extension SessionAPI {
    package static func listing(of sessions: [Session]) -> Listing {
        Listing(
            columns: [
                .init("client"), .init("connected"), .init("protocol"), .init("address"),
                .init("queued", alignment: .right), .init("in_flight", alignment: .right), .init("state"),
            ],
            rows: sessions.map { session in
                [
                    .text(session.client), .boolean(session.connected), text(session.protocolName),
                    text(session.address), .integer(session.queued), .integer(session.inFlight), .text(session.state),
                ]
            }
        )
    }

    private static func text(_ text: String?) -> OutputValue { text.map(OutputValue.text) ?? .none }

    package static func record(of session: Session) -> Record {
        func seconds(_ seconds: Int64) -> OutputValue {
            .text(
                DurationText.format(
                    microseconds: UInt64(clamping: seconds).multipliedReportingOverflow(by: 1_000_000).0
                )
            )
        }
        var fields: [Record.Field] = [
            .init("client", .text(session.client)), .init("state", .text(session.state)),
            .init("connected", .boolean(session.connected)), .init("protocol", text(session.protocolName)),
            .init("address", text(session.address)), .init("connected_at", text(session.connectedAt)),
        ]
        if let keepAlive = session.keepAliveSeconds {
            fields.append(.init("keep_alive", keepAlive == 0 ? .text("none") : seconds(Int64(keepAlive))))
        }
        fields += [
            .init("stored", .boolean(session.stored)), .init("kept_for", seconds(session.expirySeconds)),
            .init("queued", .integer(session.queued)), .init("in_flight", .integer(session.inFlight)),
        ]
        if let unreleased = session.unreleased { fields.append(.init("unreleased", .integer(unreleased))) }
        if let uncompleted = session.uncompleted { fields.append(.init("uncompleted", .integer(uncompleted))) }
        if let unsent = session.unsentBytes { fields.append(.init("unsent_bytes", .integer(unsent))) }
        if let will = session.will {
            let when = will.waiting ? "waits for its time" : "if the client is lost"
            let delay = will.delaySeconds > 0 ? ", \(will.delaySeconds)s later" : ""
            fields.append(.init("will", .text("\(will.topic), \(when)\(delay)")))
        }
        if let subscriptions = session.subscriptions {
            fields.append(.init("subscriptions", .listing(listing(of: subscriptions))))
        }
        return Record(fields)
    }

    private static func listing(of subscriptions: [Session.Subscription]) -> Listing {
        Listing(
            columns: [
                .init("filter"), .init("qos", title: "QOS", alignment: .right), .init("identifier", alignment: .right),
                .init("options"),
            ],
            rows: subscriptions.map { subscription in
                let options =
                    (subscription.noLocal ? ["no-local"] : [])
                    + (subscription.retainAsPublished ? ["retain-as-published"] : [])
                return [
                    .text(subscription.filter), .integer(subscription.qos),
                    subscription.identifier.map { .integer($0) } ?? .none, .list(options),
                ]
            }
        )
    }
}
