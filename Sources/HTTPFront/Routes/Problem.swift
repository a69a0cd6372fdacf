internal import HTTPTypes
internal import MessageModel

/// An error as HTTP says it (RFC 9457).
struct Problem: Error {
    var code: ErrorCode
    /// Where HTTP has a closer status than the code's own.
    var status: Int
    var title: String
    var detail: String
    var hint: String
    /// The place in the request's JSON (RFC 6901).
    var pointer: String?
    /// For 405: the methods that are there.
    var allow: [String] = []

    init(
        _ code: ErrorCode,
        _ detail: String,
        hint: String = "",
        status: Int? = nil,
        title: String? = nil,
        pointer: String? = nil
    ) {
        self.code = code
        self.status = status ?? code.rendering.httpStatus
        self.title = title ?? code.rendering.title
        self.detail = detail
        self.hint = hint
        self.pointer = pointer
    }

    init(_ error: SluiceError) {
        self.init(error.code, error.message, hint: error.hint)
    }

    private static let quotedBytes = 1_000

    /// An error of the request's body.
    /// - Parameter body: the bytes that were read, to say line and column.
    init(_ error: JSONError, in body: UnsafeRawBufferPointer) {
        let before = body.prefix(min(error.offset, body.count))
        let line = before.count { $0 == 0x0A } + 1
        let column = before.count - (before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0) + 1
        // What was sent is said back only in part, where it is long.
        let message = error.message.utf8.count > Self.quotedBytes ? "a member's name is not known" : error.message
        let place = "(line \(line), column \(column))"
        self.init(
            error.isValue ? .invalidArgument : .malformed,
            error.isValue ? "\(message) \(place)" : "the body is not JSON: \(message) \(place)",
            pointer: error.pointer.utf8.count > Self.quotedBytes ? nil : error.pointer
        )
    }

    func write(to writer: inout JSONWriter) {
        writer.object { writer in
            writer.member("type", "urn:sluice:error:\(code.rendering.name)")
            writer.member("title", title)
            writer.member("status", status)
            writer.member("detail", detail)
            writer.member("code", code.rendering.name)
            if !hint.isEmpty { writer.member("hint", hint) }
            if let pointer {
                writer.array("errors") { writer in
                    writer.object { writer in
                        writer.member("pointer", pointer)
                        writer.member("detail", detail)
                    }
                }
            }
        }
    }

    var reply: Reply {
        var writer = JSONWriter()
        write(to: &writer)
        var reply = Reply(status: status, contentType: "application/problem+json", body: writer.buffer)
        if !allow.isEmpty { reply.headers[.allow] = allow.joined(separator: ", ") }
        if code.statusClass == .backOff || code.statusClass == .retryElsewhere || status == 429 {
            reply.headers[.retryAfter] = "1"
        }
        return reply
    }
}
