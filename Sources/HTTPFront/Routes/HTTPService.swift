internal import HTTPTypes
internal import HummingbirdCore
internal import Logging
internal import MessageModel
internal import NIOCore

/// Answers requests: finds the route, calls its handler, and turns errors into answers.
struct HTTPService: Sendable {
    let bridge: StorageBridge
    let options: HTTPOptions
    private let bodies: BodyBudget
    private let logger: Logger

    init(bridge: StorageBridge, options: HTTPOptions, logger: Logger) {
        self.logger = logger
        self.bridge = bridge
        self.options = options
        bodies = BodyBudget(limit: options.maxBodyBytesInFlight)
    }

    func respond(to request: Request, on channel: any Channel, _ writer: consuming ResponseWriter) async throws {
        let call = HTTPCall(request: request, channel: channel, maxBodyBytes: options.maxBodyBytes, budget: bodies)
        var reply: Reply
        do {
            reply = try await route(call)
        } catch let problem as Problem {
            reply = problem.reply
        } catch let error as SluiceError {
            reply = Problem(error).reply
        } catch is HTTPCall.Aborted {
            // The other side has gone in the middle of its request: there is nobody to answer.
            throw HTTPCall.Aborted()
        } catch {
            logger.error("a request failed", metadata: ["target": "\(request.head.path ?? "")", "error": "\(error)"])
            reply = Problem(.internal, "the request failed in the server", hint: "see the server's log").reply
        }
        if call.leavesBody { reply.closesConnection = true }
        if request.method == .head || reply.body.readableBytes == 0 {
            try await writer.writeResponse(reply.head)
        } else {
            try await writer.write(response: reply.head, body: ResponseBody(byteBuffer: reply.body))
        }
    }

    private func route(_ call: HTTPCall) async throws -> Reply {
        let target = try RequestTarget(call.request.head.path ?? "/")
        let path = target.segments
        switch (path.count, path.first) {
        case (1, "livez"):
            try call.check([.get])
            return Reply.json { $0.member("status", "ok") }
        case (1, "readyz"):
            try call.check([.get])
            return try await readiness(target)
        case (1, "healthz"):
            try call.check([.get])
            return try await health(target)
        case (2, "v1") where path[1] == "version":
            try call.check([.get])
            return Reply.json { writer in
                writer.member("name", "sluice")
                writer.member("version", options.version)
                writer.member("api", "v1")
            }
        case (2, "v1") where path[1] == "topics":
            try call.check([.get])
            return try await listTopics(target)
        case (3, "v1") where path[1] == "topics":
            switch try call.check([.get, .put, .delete]) {
            case .put: return try await createTopic(path[2], target, call)
            case .delete: return try await deleteTopic(path[2], target)
            default: return try await describeTopic(path[2], target)
            }
        case (4, "v1") where path[1] == "topics" && path[3] == "messages":
            switch try call.check([.get, .post]) {
            case .post: return try await publish(to: .topic(path[2]), target, call)
            default: return try await read(.topic(path[2]), target, call)
            }
        case (2, "v1") where path[1] == "sessions":
            try call.check([.get])
            return try await listSessions(target)
        case (3, "v1") where path[1] == "sessions":
            switch try call.check([.get, .delete]) {
            case .delete: return try await deleteSession(path[2], target)
            default: return try await showSession(path[2], target)
            }
        case (4, "v1") where path[1] == "sessions" && path[3] == "connection":
            try call.check([.delete])
            return try await disconnectClient(path[2], target)
        case (2, "v1") where path[1] == "transactions":
            try call.check([.post])
            return try await beginTransaction(target, call)
        case (4, "v1") where path[1] == "transactions" && ["commit", "rollback"].contains(path[3]):
            try call.check([.post])
            return try await endTransaction(path[2], commits: path[3] == "commit", target, call)
        case (2, "v1") where path[1] == "messages":
            switch try call.check([.get, .post]) {
            case .post: return try await publish(to: .name(target["name"]), target, call)
            default: return try await read(.name, target, call)
            }
        default:
            let mayBeTopic = path.count > 3 && path[0] == "v1" && path[1] == "topics"
            throw Problem(
                .notFound,
                "there is nothing at this address",
                hint: mayBeTopic
                    ? "a / in a topic's name is written %2F in the address" : "the routes are in docs/http.md"
            )
        }
    }
}
