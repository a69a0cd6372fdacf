internal import HTTPTypes
internal import NIOCore

/// An answer as a whole.
struct Reply: Sendable {
    var status: Int
    var headers: HTTPFields
    var body: ByteBuffer
    /// The request's body was not read to its end: the connection cannot go on.
    var closesConnection = false

    init(status: Int, contentType: String? = nil, body: ByteBuffer = ByteBuffer()) {
        self.status = status
        self.body = body
        headers = HTTPFields()
        if let contentType { headers[.contentType] = contentType }
    }

    static func json(status: Int = 200, _ value: (inout JSONWriter) -> Void) -> Reply {
        var writer = JSONWriter()
        writer.object(value)
        return Reply(status: status, contentType: "application/json", body: writer.buffer)
    }

    static let noContent = Reply(status: 204)

    /// Sets `sluice-` and `name`.
    mutating func setSluiceHeader(_ name: String, _ value: String) {
        guard let name = HTTPField.Name("sluice-" + name) else { return }
        headers[name] = value
    }

    /// The head to send; with the length of the body also where only the head is asked for.
    var head: HTTPResponse {
        var fields = headers
        if status != 204 { fields[.contentLength] = String(body.readableBytes) }
        fields[.cacheControl] = "no-store"
        if closesConnection { fields[.connection] = "close" }
        return HTTPResponse(status: HTTPResponse.Status(code: status), headerFields: fields)
    }
}
