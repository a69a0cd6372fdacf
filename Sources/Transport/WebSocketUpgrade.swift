package import NIOCore
internal import NIOHTTP1
internal import NIOWebSocket

/// Lets a connection begin as HTTP and go on as WebSocket (RFC 6455), for one path and some subprotocols.
package struct WebSocketUpgrade: Sendable {
    /// The path at which it is served; a query behind it does not matter.
    package var path: String
    /// What is spoken; of those that a client offers, the first of these is chosen.
    package var subprotocols: [String]
    /// The largest frame, in bytes.
    package var maxFrameBytes: Int
    /// A connection that has not become one by then is closed.
    package var timeout: TimeAmount
    /// From which other sites scripts in a browser may connect: `https://app.example`, or `*` for all. A browser lets any
    /// page connect to anywhere, so it is for the server to say who may.
    package var origins: [String] = []

    package init(path: String, subprotocols: [String], maxFrameBytes: Int, timeout: TimeAmount = .seconds(10)) {
        self.path = path
        self.subprotocols = subprotocols
        self.maxFrameBytes = maxFrameBytes
        self.timeout = timeout
    }

    /// Prepares a new connection; to be called on its event loop.
    /// - Parameter addFront: adds the handlers of the front, which read and write bytes, once the connection is one. The
    ///   channel is active then.
    package func configure(
        _ channel: any Channel,
        addFront: @escaping @Sendable (any Channel) throws -> Void
    ) throws {
        let refusal = WebSocketRefusal(self)
        let bound = NIOLoopBound(refusal, eventLoop: channel.eventLoop)
        let settings = self
        let upgrader = NIOWebSocketServerUpgrader(
            maxFrameSize: min(maxFrameBytes, Int(UInt32.max)),
            shouldUpgrade: { channel, head in
                let answer: HTTPHeaders? = settings.subprotocol(for: head).map { ["Sec-WebSocket-Protocol": $0] }
                let isTaken = settings.isHere(head) && settings.isAllowed(head)
                return channel.eventLoop.makeSucceededFuture(isTaken ? answer : nil)
            },
            upgradePipelineHandler: { channel, _ in
                channel.eventLoop.makeCompletedFuture {
                    let stream = WebSocketStream()
                    try channel.pipeline.syncOperations.addHandler(stream)
                    try addFront(channel)
                    if let client = bound.value.client { stream.announce(client) }
                }
            }
        )
        try channel.pipeline.syncOperations.configureHTTPServerPipeline(
            withServerUpgrade: (
                upgraders: [upgrader],
                completionHandler: { context in
                    context.pipeline.syncOperations.removeHandler(bound.value, promise: nil)
                }
            )
        )
        try channel.pipeline.syncOperations.addHandler(refusal)
    }

    fileprivate func isHere(_ head: HTTPRequestHead) -> Bool {
        head.uri.prefix { $0 != "?" } == path
    }

    /// Who is no browser says no origin; a page of this server's own may always connect.
    fileprivate func isAllowed(_ head: HTTPRequestHead) -> Bool {
        guard let origin = head.headers.first(name: "Origin") else { return true }
        if origins.contains("*") || origins.contains(origin) { return true }
        guard let host = head.headers.first(name: "Host"), let scheme = origin.firstRange(of: "://") else {
            return false
        }
        return origin[scheme.upperBound...].lowercased() == host.lowercased()
    }

    /// What is spoken with this client; nil where it offers nothing that is known.
    fileprivate func subprotocol(for head: HTTPRequestHead) -> String? {
        let offered = head.headers[canonicalForm: "Sec-WebSocket-Protocol"]
        return subprotocols.first { name in offered.contains { $0 == name } }
    }
}

/// Answers requests that do not become WebSocket connections.
private final class WebSocketRefusal: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let upgrade: WebSocketUpgrade
    private var hasAnswered = false
    private var timer: Scheduled<Void>?
    /// What a PROXY header said before the front was there to hear it.
    private(set) var client: ClientAddress?

    init(_ upgrade: WebSocketUpgrade) {
        self.upgrade = upgrade
    }

    func handlerAdded(context: ChannelHandlerContext) {
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: upgrade.timeout) { context.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(let head) = unwrapInboundIn(data), !hasAnswered else { return }
        hasAnswered = true
        if !upgrade.isHere(head) {
            answer(context, .notFound, "WebSocket is served at \(upgrade.path)\n")
        } else if !upgrade.isAllowed(head) {
            answer(context, .forbidden, "pages of other sites may not connect here\n")
        } else if head.headers.contains(name: "Sec-WebSocket-Key"), upgrade.subprotocol(for: head) == nil {
            let known = upgrade.subprotocols.joined(separator: ", ")
            answer(context, .badRequest, "Sec-WebSocket-Protocol has none of: \(known)\n")
        } else {
            answer(context, .upgradeRequired, "WebSocket is spoken here, and nothing else\n")
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case let event as ClientAddress: client = event
        case ChannelEvent.inputClosed, is ChannelShouldQuiesceEvent:
            // Nobody is there any more who could go on, or the server stops.
            if !hasAnswered { context.close(promise: nil) }
        default: break
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // That a request does not become a connection is answered when its head comes by.
        if error is NIOWebSocketUpgradeError { return }
        context.close(promise: nil)
    }

    private func answer(_ context: ChannelHandlerContext, _ status: HTTPResponseStatus, _ text: String) {
        var headers: HTTPHeaders = [
            "Content-Type": "text/plain; charset=utf-8", "Content-Length": String(text.utf8.count),
            "Connection": "close",
        ]
        if status == .upgradeRequired {
            headers.replaceOrAdd(name: "Connection", value: "upgrade, close")
            headers.add(name: "Upgrade", value: "websocket")
            headers.add(name: "Sec-WebSocket-Version", value: "13")
        }
        let head = HTTPResponseHead(version: .http1_1, status: status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: text)))), promise: nil)
        let context = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.value.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in
            context.value.close(promise: nil)
        }
    }
}
