internal import HTTPTypes
internal import MessageModel
internal import StorageService

/// Transactions: messages that are published together or not at all.
extension HTTPService {
    func beginTransaction(_ target: RequestTarget, _ call: HTTPCall) async throws -> Reply {
        try target.allow()
        let specification = try Self.transactionSpecification(try await call.body())
        if !specification.owner.isEmpty {
            guard let url = CallbackURL(specification.owner) else {
                throw Problem(
                    .invalidArgument,
                    "'callback' is not an address that can be called",
                    hint: "http://host:port/path; https is not supported",
                    pointer: "/callback"
                )
            }
            guard url.isPermitted(by: options.callbackAddresses) else {
                throw Problem(
                    .denied,
                    "the server may not call \(url.host):\(url.port)",
                    hint: "http.callbacks in the server's configuration lists where it may",
                    pointer: "/callback"
                )
            }
        }
        guard case .transaction(let id) = try await bridge.perform(.beginTransaction(specification)) else {
            throw unexpectedReply()
        }
        var reply = Reply.json(status: 201) { $0.member("id", String(id.rawValue)) }
        reply.headers[.location] = "/v1/transactions/\(id.rawValue)"
        return reply
    }

    func endTransaction(
        _ id: String,
        commits: Bool,
        _ target: RequestTarget,
        _ call: HTTPCall
    ) async throws -> Reply {
        try target.allow()
        let id = try Self.transaction(id)
        _ = try await bridge.perform(commits ? .commitTransaction(id) : .rollBackTransaction(id))
        return Reply.json { $0.member("state", commits ? "committed" : "rolled_back") }
    }

    static func transaction(_ text: String) throws(Problem) -> TransactionID {
        guard let number = UInt64(text) else {
            throw Problem(.notFound, "there is no transaction '\(text)'", hint: "POST /v1/transactions begins one")
        }
        return TransactionID(rawValue: number)
    }

    private static func transactionSpecification(_ body: [UInt8]) throws -> TransactionSpecification {
        var specification = TransactionSpecification()
        guard !body.isEmpty else { return specification }
        let result: Result<TransactionSpecification, Problem> = body.withUnsafeBytes { bytes in
            var reader = JSONReader(bytes)
            do throws(JSONError) {
                try reader.readObject("the body") { reader, name throws(JSONError) in
                    switch name {
                    case "callback":
                        specification.owner = try reader.readString("'callback'")
                        guard !specification.owner.isEmpty else { throw reader.invalid("'callback' is an address") }
                    case "check_after":
                        guard let time = DurationText.parse(try reader.readString("'check_after'")) else {
                            throw reader.invalid("'check_after' is a whole number with ms, s, m, h or d, as 30s")
                        }
                        specification.checkAfterMicroseconds = time
                    case "checks":
                        specification.checks = UInt32(clamping: try reader.readUnsigned("'checks'"))
                    default:
                        throw reader.invalid("'\(name)' is not known; known are callback, check_after and checks")
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
}
