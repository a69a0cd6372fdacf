internal import MessageModel
internal import StorageService

/// Whether the server lives, and whether it can be used.
extension HTTPService {
    /// A probe is not kept longer than this.
    private static let probeTime = Duration.seconds(2)

    /// - Returns: nil where storage does not answer.
    private func storageHealth() async -> StorageHealth? {
        // A probe must be answered even where storage hangs: whichever is first counts, and nobody waits for the other.
        let (answers, answer) = AsyncStream.makeStream(of: StorageHealth?.self)
        let bridge = bridge
        let question = Task {
            if case .health(let health) = try? await bridge.perform(.health) {
                answer.yield(health)
            }
            answer.finish()
        }
        let alarm = Task {
            try await Task.sleep(for: Self.probeTime)
            answer.finish()
        }
        defer {
            question.cancel()
            alarm.cancel()
        }
        for await health in answers { return health }
        return nil
    }

    private static func reasons(_ health: StorageHealth?) -> [String] {
        guard let health else { return ["storage does not answer"] }
        return health.acceptsWrites ? [] : ["storage refuses writes: \(health.reason)"]
    }

    func readiness(_ target: RequestTarget) async throws -> Reply {
        try target.allow()
        let reasons = Self.reasons(await storageHealth())
        return Reply.json(status: reasons.isEmpty ? 200 : 503) { writer in
            writer.member("status", reasons.isEmpty ? "ok" : "unavailable")
            if !reasons.isEmpty { writer.member("reasons", strings: reasons) }
        }
    }

    func health(_ target: RequestTarget) async throws -> Reply {
        try target.allow()
        let health = await storageHealth()
        let reasons = Self.reasons(health)
        return Reply.json(status: reasons.isEmpty ? 200 : 503) { writer in
            writer.member("status", reasons.isEmpty ? "ok" : "unavailable")
            if !reasons.isEmpty { writer.member("reasons", strings: reasons) }
            writer.member("version", options.version)
            guard let health else { return }
            writer.object("storage") { writer in
                writer.member("accepts_writes", health.acceptsWrites)
                writer.member("durable_position", health.durable.rawValue)
                writer.member("end_position", health.end.rawValue)
            }
        }
    }
}
