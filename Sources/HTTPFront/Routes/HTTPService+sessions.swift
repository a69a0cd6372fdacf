internal import Gateway
internal import HTTPTypes
internal import MessageModel

/// Sessions of clients: list, describe, disconnect, delete.
extension HTTPService {
    private static let none = SluiceError(.notFound, "no protocol with sessions is served")

    func listSessions(_ target: RequestTarget) async throws -> Reply {
        try target.allow("limit", "page_token")
        let limit = try target.number("limit", in: 1...HTTPLimits.topicsPerPage) ?? HTTPLimits.defaultTopicsPerPage
        let token = target["page_token"]
        let page: SessionPage = try await bridge.withGateway { gateway, completion in
            guard let sessions = gateway.sessions else { return completion(.failure(Self.none)) }
            sessions.listSessions(after: token, limit: limit, completion)
        }
        return Reply.json { writer in
            writer.array("sessions") { writer in
                for session in page.sessions { writer.object { session.write(to: &$0) } }
            }
            if let next = page.next { writer.member("next_page_token", next) }
        }
    }

    func showSession(_ client: String, _ target: RequestTarget) async throws -> Reply {
        try target.allow()
        let session: ClientSession = try await bridge.withGateway { gateway, completion in
            guard let sessions = gateway.sessions else { return completion(.failure(Self.none)) }
            sessions.showSession(of: client, completion)
        }
        return Reply.json { session.write(to: &$0) }
    }

    func disconnectClient(_ client: String, _ target: RequestTarget) async throws -> Reply {
        try target.allow()
        let _: Void = try await bridge.withGateway { gateway, completion in
            guard let sessions = gateway.sessions else { return completion(.failure(Self.none)) }
            let why = SluiceError(.notFound, "no client '\(client)' is connected")
            completion(sessions.disconnectClient(client) ? .success(()) : .failure(why))
        }
        return .noContent
    }

    func deleteSession(_ client: String, _ target: RequestTarget) async throws -> Reply {
        try target.allow()
        let _: Void = try await bridge.withGateway { gateway, completion in
            guard let sessions = gateway.sessions else { return completion(.failure(Self.none)) }
            sessions.deleteSession(of: client, completion)
        }
        return .noContent
    }
}

extension ClientSession {
    fileprivate func write(to writer: inout JSONWriter) {
        writer.member("client", client)
        writer.member("connected", connection != nil)
        writer.member("state", state)
        if let connection {
            writer.member("protocol", connection.protocolName)
            writer.member("address", connection.address)
            writer.member("connected_at", TimeText.format(connection.since))
            writer.member("keep_alive_s", connection.keepAliveSeconds)
            writer.member("unsent_bytes", connection.unsentBytes)
        }
        writer.member("stored", isStored)
        writer.member("expiry_s", expirySeconds)
        writer.member("queued", queued)
        writer.member("in_flight", inFlight)
        guard let subscriptions else { return }
        writer.member("unreleased", unreleased)
        writer.member("uncompleted", uncompleted)
        writer.array("subscriptions") { writer in
            for subscription in subscriptions {
                writer.object { writer in
                    writer.member("filter", subscription.filter)
                    writer.member("qos", subscription.qos)
                    writer.member("no_local", subscription.isNoLocal)
                    writer.member("retain_as_published", subscription.retainsAsPublished)
                    if let identifier = subscription.identifier { writer.member("identifier", identifier) }
                }
            }
        }
        guard let will else { return }
        writer.object("will") { writer in
            writer.member("topic", will.topic)
            writer.member("delay_s", will.delaySeconds)
            writer.member("waiting", will.isWaiting)
        }
    }
}
