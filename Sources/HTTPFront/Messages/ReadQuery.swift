internal import HTTPTypes
internal import MessageModel

/// What a read asks for, from the query of its address.
struct ReadQuery: Sendable {
    enum Start: Sendable, Equatable {
        case first
        case next
        case offset(UInt64)
        case time(Timestamp)
    }

    var partition: Int?
    var start: Start
    var limit: Int
    /// How long to wait for the first message, in µs.
    var wait: UInt64
    /// Only messages whose full name matches.
    var filter: [UInt8]?
    /// The answer is the one message's body.
    var isPlain: Bool

    init(_ target: RequestTarget, fields: HTTPFields, now: Timestamp) throws(Problem) {
        try target.allow("partition", "from", "limit", "wait", "name")
        partition = try target.number("partition", in: 0...Limits.partitionsPerTopic - 1)
        let limit = try target.number("limit", in: 1...HTTPLimits.messagesPerRead)
        isPlain = Self.asksForPlain(fields[.accept])
        if isPlain, let limit, limit != 1 {
            throw Problem(.invalidArgument, "a plain body is one message", hint: "limit=1, or accept application/json")
        }
        self.limit = isPlain ? 1 : limit ?? HTTPLimits.defaultMessagesPerRead
        start = try target["from"].map { text throws(Problem) in try Self.start(text, now: now) } ?? .first
        wait = 0
        if let text = target["wait"] {
            guard let value = text == "0" ? 0 : DurationText.parse(text), value <= HTTPLimits.waitMicroseconds else {
                throw Problem(
                    .invalidArgument,
                    "'wait' is a whole number with ms, s or m, at most \(HTTPLimits.waitMicroseconds / 1_000_000)s"
                )
            }
            wait = value
        }
        if let text = target["name"] {
            let bytes = Array(text.utf8)
            let problem: SluiceError? = bytes.withUnsafeBytes { bytes in
                do throws(SluiceError) { try NameRules.checkFilter(bytes) } catch { return error }
                return nil
            }
            if let problem { throw Problem(problem) }
            filter = bytes
        }
    }

    /// How much to ask storage for at once: not much more than the answer takes, as far as that can be known.
    var fetchBytes: Int {
        filter == nil ? min(HTTPLimits.fetchBytes, max(16 << 10, limit * (2 << 10))) : HTTPLimits.fetchBytes
    }

    private static func asksForPlain(_ accept: String?) -> Bool {
        guard let accept else { return false }
        return accept.split(separator: ",").contains { part in
            part.prefix { $0 != ";" }.filter { $0 != " " }.lowercased() == "application/octet-stream"
        }
    }

    private static func start(_ text: String, now: Timestamp) throws(Problem) -> Start {
        switch text {
        case "first": return .first
        case "next": return .next
        default: break
        }
        if let offset = UInt64(text), !text.hasPrefix("+") { return .offset(offset) }
        if text.hasPrefix("-"), let ago = DurationText.parse(text.dropFirst()) {
            return .time(Timestamp(rawValue: now.rawValue > ago ? now.rawValue - ago : 0))
        }
        if let time = TimeText.parse(text) { return .time(time) }
        throw Problem(
            .invalidArgument,
            "'from' is first, next, an offset, a time as 2026-11-20T09:58:12Z, or a time ago as -5m"
        )
    }
}
