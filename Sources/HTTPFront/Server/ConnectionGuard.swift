internal import HTTPTypes
internal import MessageModel
internal import NIOCore
internal import NIOHTTP1
internal import NIOHTTPTypes

/// Watches over one connection between the codec and the server: answers `Expect: 100-continue` and what is not HTTP,
/// cuts off senders and readers that are too slow, notices that the other side has gone, and ends a connection whose
/// request was refused before its body was read.
final class ConnectionGuard: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private enum Ending {
        case no
        /// The answer that is being written is the last.
        case afterAnswer
        /// The answer is out; what still comes in is dropped.
        case draining
    }

    private let maxBodyBytes: Int
    private let requestTimeout: TimeAmount
    private let responseTimeout: TimeAmount
    private var requestTimer: Scheduled<Void>?
    private var responseTimer: Scheduled<Void>?
    /// Requests whose answer is not written yet.
    private var unanswered = 0
    private var isReadingRequest = false
    private var isWritingAnswer = false
    private var ending = Ending.no
    private var isGone = false
    private var whenGone: (() -> Void)?

    init(options: HTTPOptions) {
        maxBodyBytes = options.maxBodyBytes
        requestTimeout = .milliseconds(options.requestTimeoutMilliseconds)
        responseTimeout = .milliseconds(options.responseTimeoutMilliseconds)
    }

    /// Calls `body` once when the other side has closed the connection or its half; at once where it has.
    func notifyWhenGone(_ body: @escaping () -> Void) {
        if isGone { body() } else { whenGone = body }
    }

    func forgetNotification() { whenGone = nil }

    /// Whether the last request has come in to its end.
    var hasReadRequest: Bool { !isReadingRequest }

    private func markGone() {
        isGone = true
        let notify = whenGone
        whenGone = nil
        notify?()
    }

    // MARK: Inbound

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard ending != .draining else { return }
        switch unwrapInboundIn(data) {
        case .head(let request):
            // Pipelined behind a request that ends the connection.
            guard ending == .no else { return }
            unanswered += 1
            isReadingRequest = true
            startRequestTimer(context)
            continueIfExpected(request, context)
        case .body:
            break
        case .end:
            isReadingRequest = false
            requestTimer?.cancel()
            requestTimer = nil
        }
        context.fireChannelRead(data)
    }

    /// RFC 9110 §10.1.1. A body that is refused for its size is not asked for.
    private func continueIfExpected(_ request: HTTPRequest, _ context: ChannelHandlerContext) {
        guard unanswered == 1, let expect = request.headerFields[.expect], expect.lowercased() == "100-continue" else {
            return
        }
        if let length = request.headerFields[.contentLength].flatMap(Int.init), length > maxBodyBytes { return }
        context.writeAndFlush(wrapOutboundOut(.head(HTTPResponse(status: .continue))), promise: nil)
    }

    private func startRequestTimer(_ context: ChannelHandlerContext) {
        requestTimer?.cancel()
        requestTimer = context.eventLoop.assumeIsolated().scheduleTask(in: requestTimeout) { [self] in
            requestTimer = nil
            guard isReadingRequest else { return }
            if unanswered == 1, !isWritingAnswer, ending == .no {
                refuse(
                    Problem(.malformed, "the request did not arrive in time", status: 408, title: "Request timeout"),
                    context
                )
            } else {
                context.close(promise: nil)
            }
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event {
            markGone()
            if ending == .draining { context.close(promise: nil) }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        markGone()
        requestTimer?.cancel()
        responseTimer?.cancel()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let parserError = error as? HTTPParserError, ending == .no else {
            context.fireErrorCaught(error)
            context.close(promise: nil)
            return
        }
        if unanswered == 0 {
            let isTooLarge = if case .headerOverflow = parserError { true } else { false }
            refuse(
                isTooLarge
                    ? Problem(
                        .tooLarge,
                        "the request's header fields are too large",
                        status: 431,
                        title: "Request header fields too large"
                    )
                    : Problem(.malformed, "this is not an HTTP/1.1 request"),
                context
            )
        } else {
            // In the body of a request that is being handled: its handler ends with it.
            context.fireErrorCaught(error)
            context.close(promise: nil)
        }
    }

    /// Answers in place of a handler, and ends the connection.
    private func refuse(_ problem: Problem, _ context: ChannelHandlerContext) {
        var reply = problem.reply
        reply.closesConnection = true
        ending = .draining
        context.write(wrapOutboundOut(.head(reply.head)), promise: nil)
        context.write(wrapOutboundOut(.body(reply.body)), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        linger(context)
    }

    // MARK: Outbound

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        // The answer of a handler that was overtaken by a refusal.
        guard ending != .draining else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        switch unwrapOutboundIn(data) {
        case .head(let response):
            isWritingAnswer = true
            if response.headerFields[.connection] == "close" { ending = .afterAnswer }
            startResponseTimer(context)
            context.write(data, promise: promise)
        case .body:
            context.write(data, promise: promise)
        case .end:
            unanswered -= 1
            isWritingAnswer = false
            let written = promise ?? context.eventLoop.makePromise(of: Void.self)
            written.futureResult.assumeIsolated().whenComplete { [self] _ in
                responseTimer?.cancel()
                responseTimer = nil
            }
            if ending == .afterAnswer {
                ending = .draining
                context.writeAndFlush(data, promise: written)
                linger(context)
            } else {
                context.write(data, promise: written)
            }
        }
    }

    private func startResponseTimer(_ context: ChannelHandlerContext) {
        responseTimer?.cancel()
        responseTimer = context.eventLoop.assumeIsolated().scheduleTask(in: responseTimeout) {
            context.close(promise: nil)
        }
    }

    /// Closes the sending half and, when the other side has closed its own or after a time, the rest: a connection that
    /// is closed with unread bytes in it is reset, and the answer may be lost with it.
    private func linger(_ context: ChannelHandlerContext) {
        requestTimer?.cancel()
        requestTimer = nil
        context.close(mode: .output, promise: nil)
        if isGone {
            context.close(promise: nil)
            return
        }
        _ = context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(HTTPLimits.lingerMilliseconds)) {
            context.close(promise: nil)
        }
    }
}

@available(*, unavailable)
extension ConnectionGuard: Sendable {}
