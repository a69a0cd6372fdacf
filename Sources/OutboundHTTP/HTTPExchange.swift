internal import Glibc
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// One request over one connection of its own. Redirections are not followed.
package struct HTTPExchange: Sendable {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    package var host: String
    package var port: Int
    package var connectTimeout = Duration.seconds(5)
    /// For all of it, from the first byte sent to the last received.
    package var timeout = Duration.seconds(30)
    /// A larger response is refused.
    package var maxResponseSize = 16 << 20

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// `host:port`, as the Host header has it.
    package var authority: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// Sends the request and waits for the whole response.
    package func send(_ request: HTTPRequest) async throws(HTTPExchangeProblem) -> HTTPResponse {
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
                .connect(host: host, port: port)
                .get()
        } catch {
            // The collector never saw the connection, so nobody else settles the promise.
            response.fail(error)
            throw .unreachable(reason(of: error))
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
            throw problem
        } catch {
            throw .unreachable(reason(of: error))
        }
    }

    private func write(_ request: HTTPRequest, to channel: any Channel) {
        var headers: HTTPHeaders = [
            "Host": authority, "User-Agent": "sluice", "Accept": "application/json", "Connection": "close",
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
}

/// Why there is no response.
package enum HTTPExchangeProblem: Error, Equatable {
    /// No connection, or it broke; in a few words.
    case unreachable(String)
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
