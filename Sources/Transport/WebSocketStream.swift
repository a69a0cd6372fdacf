internal import NIOCore
internal import NIOWebSocket

/// A WebSocket connection as a stream of bytes: what a front behind it reads and writes.
///
/// Frames mean nothing to the protocols that are spoken here: a packet may be spread over several, and one may hold
/// several packets (MQTT 5.0 §6.0 [MQTT-6.0.0-2]). Each write becomes one frame.
final class WebSocketStream: ChannelDuplexHandler {
    typealias InboundIn = WebSocketFrame
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = WebSocketFrame

    /// The payload of a control frame has at most 125 bytes (RFC 6455 §5.5).
    private static let controlBytes = 125

    private var isInMessage = false
    private var hasSentClose = false
    private var context: ChannelHandlerContext?

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    /// Tells the handlers behind who the client is.
    func announce(_ client: ClientAddress) { context?.fireUserInboundEventTriggered(client) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var frame = unwrapInboundIn(data)
        // A client masks what it sends (§5.1).
        guard frame.maskKey != nil else { return fail(context, .protocolError) }
        let payload = frame.unmaskedData
        switch frame.opcode {
        case .binary:
            guard !isInMessage else { return fail(context, .protocolError) }
            isInMessage = !frame.fin
            context.fireChannelRead(wrapInboundOut(payload))
        case .continuation:
            guard isInMessage else { return fail(context, .protocolError) }
            isInMessage = !frame.fin
            context.fireChannelRead(wrapInboundOut(payload))
        case .text:
            // [MQTT-6.0.0-1]: control packets are sent in binary frames.
            fail(context, .unacceptableData)
        case .ping:
            guard frame.fin, payload.readableBytes <= Self.controlBytes else { return fail(context, .protocolError) }
            write(context, .pong, payload)
        case .pong:
            break
        case .connectionClose:
            if !hasSentClose {
                hasSentClose = true
                // The code is sent back as it came (§5.5.1).
                let code = payload.getSlice(at: payload.readerIndex, length: min(2, payload.readableBytes))
                write(context, .connectionClose, code ?? ByteBuffer())
            }
            context.close(promise: nil)
        default:
            fail(context, .protocolError)
        }
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let frame = WebSocketFrame(fin: true, opcode: .binary, data: unwrapOutboundIn(data))
        context.write(wrapOutboundOut(frame), promise: promise)
    }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        if mode != .input, !hasSentClose {
            hasSentClose = true
            writeClose(context, .normalClosure)
        }
        context.close(mode: mode, promise: promise)
    }

    private func fail(_ context: ChannelHandlerContext, _ code: WebSocketErrorCode) {
        guard !hasSentClose else { return context.close(promise: nil) }
        hasSentClose = true
        writeClose(context, code)
        context.close(promise: nil)
    }

    private func writeClose(_ context: ChannelHandlerContext, _ code: WebSocketErrorCode) {
        var payload = ByteBuffer()
        payload.write(webSocketErrorCode: code)
        write(context, .connectionClose, payload)
    }

    private func write(_ context: ChannelHandlerContext, _ opcode: WebSocketOpcode, _ payload: ByteBuffer) {
        context.writeAndFlush(
            wrapOutboundOut(WebSocketFrame(fin: true, opcode: opcode, data: payload)),
            promise: nil
        )
    }
}
