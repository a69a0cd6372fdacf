import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix

/// What is asked of a server.
package struct HTTPRequest: Sendable {
    package enum Method: String, Sendable { case get = "GET", put = "PUT", post = "POST", delete = "DELETE" }

    package var method: Method
    /// The steps of the path, not yet percent-encoded: `["v1", "topics", "orders/eu"]`.
    package var path: [String]
    package var query: [(name: String, value: String)] = []
    /// JSON.
    package var body: String?

    package init(_ method: Method, _ path: [String], query: [(name: String, value: String)] = [], body: String? = nil) {
        self.method = method
        self.path = path
        self.query = query
        self.body = body
    }

    /// Path and query as the request line has them.
    package var target: String {
        let path = path.map { "/" + percentEncoded($0) }.joined()
        let query = query.map { "\(percentEncoded($0.name))=\(percentEncoded($0.value))" }.joined(separator: "&")
        return query.isEmpty ? path : path + "?" + query
    }
}

package struct HTTPResponse: Sendable {
    package var status: Int
    /// In lower case, without parameters.
    package var contentType: String?
    package var body: [UInt8]
}

/// One request over one connection of its own.
package struct HTTPExchange: Sendable {
    package var server: ServerURL
    package var connectTimeout = Duration.seconds(5)
    /// For all of it, from the first byte sent to the last received.
    package var timeout = Duration.seconds(30)
    /// A larger response is refused.
    package var maxResponseSize = 16 << 20

    package init(server: ServerURL) {
        self.server = server
    }

    /// Sends the request and waits for the whole response.
    /// - Throws: `unreachable` without an answer in time; `failed` when what answers is no such server.
    package func send(_ request: HTTPRequest) async throws(CommandFailure) -> HTTPResponse {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let response = loop.makePromise(of: HTTPResponse.self)
        let channel: any Channel
        do {
            channel = try await ClientBootstrap(group: loop)
                .connectTimeout(TimeAmount(connectTimeout))
                .channelInitializer { [maxResponseSize] channel in
                    channel.eventLoop.makeCompletedFuture {
                        let handlers = channel.pipeline.syncOperations
                        try handlers.addHTTPClientHandlers()
                        try handlers.addHandler(ResponseCollector(response, maxSize: maxResponseSize))
                    }
                }
                .connect(host: server.host, port: server.port)
                .get()
        } catch {
            // The collector never saw the connection, so nobody else settles the promise.
            response.fail(error)
            throw unreachable(reason(of: error))
        }
        let deadline = loop.scheduleTask(in: TimeAmount(timeout)) {
            response.fail(HTTPExchangeProblem.timeout)
            channel.close(promise: nil)
        }
        defer {
            deadline.cancel()
            channel.close(promise: nil)
        }
        do {
            write(request, to: channel)
            return try await response.futureResult.get()
        } catch let problem as HTTPExchangeProblem {
            throw failure(of: problem)
        } catch {
            throw unreachable(reason(of: error))
        }
    }

    private func write(_ request: HTTPRequest, to channel: any Channel) {
        var headers: HTTPHeaders = [
            "Host": server.authority, "User-Agent": "sluice", "Accept": "application/json", "Connection": "close",
        ]
        if let body = request.body {
            headers.add(name: "Content-Type", value: "application/json")
            headers.add(name: "Content-Length", value: String(body.utf8.count))
        }
        let head = HTTPRequestHead(
            version: .http1_1,
            method: HTTPMethod(rawValue: request.method.rawValue),
            uri: request.target,
            headers: headers
        )
        channel.write(HTTPClientRequestPart.head(head), promise: nil)
        if let body = request.body {
            channel.write(HTTPClientRequestPart.body(.byteBuffer(ByteBuffer(string: body))), promise: nil)
        }
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
    }

    private func unreachable(_ why: String) -> CommandFailure {
        CommandFailure(
            .unreachable,
            "cannot reach \(server)",
            why: why,
            hint: "is the server running there? --url or SLUICE_URL names another"
        )
    }

    private func failure(of problem: HTTPExchangeProblem) -> CommandFailure {
        switch problem {
        case .timeout:
            CommandFailure(
                .unreachable,
                "no answer from \(server)",
                why: "nothing complete came within \(timeout)"
            )
        case .tooLarge:
            CommandFailure(.failed, "the answer of \(server) is larger than \(maxResponseSize) bytes")
        case .closedEarly:
            CommandFailure(.unreachable, "\(server) closed the connection before its answer was complete")
        case .notHTTP:
            CommandFailure(
                .failed,
                "what listens on \(server) does not answer in HTTP",
                hint: "the console uses the server's http.listen address"
            )
        }
    }
}

enum HTTPExchangeProblem: Error {
    case timeout
    case tooLarge
    case closedEarly
    case notHTTP
}

/// Gathers one response and settles the promise with it, or with what went wrong.
private final class ResponseCollector: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    private let promise: EventLoopPromise<HTTPResponse>
    private let maxSize: Int
    private var response: HTTPResponse?

    init(_ promise: EventLoopPromise<HTTPResponse>, maxSize: Int) {
        self.promise = promise
        self.maxSize = maxSize
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            let type = head.headers.first(name: "Content-Type")?.split(separator: ";").first
            response = HTTPResponse(
                status: Int(head.status.code),
                contentType: type.map { $0.lowercased() },
                body: []
            )
        case .body(let part):
            guard let size = response?.body.count, size + part.readableBytes <= maxSize else {
                promise.fail(HTTPExchangeProblem.tooLarge)
                return context.close(promise: nil)
            }
            response?.body.append(contentsOf: part.readableBytesView)
        case .end:
            if let response { promise.succeed(response) }
            context.close(promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch error {
        case HTTPParserError.invalidEOFState: promise.fail(HTTPExchangeProblem.closedEarly)
        case is HTTPParserError: promise.fail(HTTPExchangeProblem.notHTTP)
        default: promise.fail(error)
        }
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        promise.fail(HTTPExchangeProblem.closedEarly)
    }
}

/// What stopped a connection, in a few words.
private func reason(of error: any Error) -> String {
    switch error {
    case let error as NIOConnectionError:
        if let first = error.connectionErrors.first { return reason(of: first.error) }
        return "the name \(error.host) is not known"
    case let error as IOError: return String(cString: strerror(error.errnoCode))
    case ChannelError.connectTimeout(let limit):
        return "no connection within \(limit.nanoseconds / 1_000_000) ms"
    default: return "\(error)"
    }
}

/// RFC 3986: all but the unreserved characters as percent and two hexadecimal digits.
func percentEncoded(_ text: String) -> String {
    var result = ""
    for byte in text.utf8 {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "~"):
            result.unicodeScalars.append(Unicode.Scalar(byte))
        default:
            let digits = String(byte, radix: 16, uppercase: true)
            result += digits.count == 1 ? "%0\(digits)" : "%\(digits)"
        }
    }
    return result
}
