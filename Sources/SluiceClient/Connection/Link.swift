internal import MessageModel
internal import NIOCore
internal import NativeProtocol

/// One connection to a server, for as long as it lasts: frames in and out, the handshake, pings.
final class Link: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let core: ClientCore
    private let clientName: String
    private var context: ChannelHandlerContext?
    private var session = ClientSession()
    private var parser = FrameParser()
    private var out = ByteBuffer()
    private var lastError: SluiceClientError?
    private var hasHeardSomething = false
    private var hasPinged = false
    private var isEnded = false
    private(set) var limits = HelloResponse.ServerLimits()

    init(core: ClientCore, clientName: String) {
        self.core = core
        self.clientName = clientName
    }

    // MARK: - The channel's events

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { begin() }
    }

    func channelActive(context: ChannelHandlerContext) { begin() }

    private func begin() {
        Preamble().write(to: &out)
        out.writeFrame(FrameHeader(.request, .hello, correlation: ClientSession.helloCorrelation)) { buffer in
            HelloRequest(clientName: clientName, clientVersion: "1", opcodes: OpcodeVersion.newer).write(to: &buffer)
        }
        flush()
    }

    func channelInactive(context: ChannelHandlerContext) {
        end(lastError ?? SluiceClientError(.connectionLost, "the server closed the connection"))
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        end(lastError ?? SluiceClientError(.connectionLost, "the connection was closed"))
        self.context = nil
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if lastError == nil { lastError = SluiceClientError(.connectionLost, "the connection failed: \(error)") }
        context.close(promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        hasHeardSomething = true
        guard session.phase != .closed else { return }
        let buffer = unwrapInboundIn(data)
        buffer.withUnsafeReadableBytes { bytes in
            var position = 0
            while session.phase != .closed {
                switch parser.next(bytes, &position, limit: session.frameLimit) {
                case .preamble(let preamble):
                    if let error = session.receivedPreamble(preamble) { return fail(SluiceClientError(error)) }
                case .frame(let bytes): received(bytes)
                case .needsMore: return
                case .invalidLength(let length):
                    return fail(SluiceClientError(.protocolViolation, "the server sent a frame of \(length) bytes"))
                }
            }
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        core.readEnded(self)
        flush()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { core.becameWritable(self) }
    }

    private func received(_ bytes: UnsafeRawBufferPointer) {
        let (frame, problem) = Frame.read(bytes)
        if let problem { return fail(SluiceClientError(problem.error)) }
        switch session.received(frame) {
        case .ready(let hello):
            limits = hello.limits
            scheduleIdleCheck()
            core.linkReady(self, hello)
        case .response: core.receivedResponse(frame)
        case .push(let opcode): core.receivedPush(frame, opcode)
        case .ping: out.writeFrame(FrameHeader(.pong, .ping, correlation: frame.header.correlation))
        case .ignore: break
        case .goaway(let error):
            lastError = SluiceClientError(error)
        case .fatal(let error): fail(SluiceClientError(error))
        }
    }

    private func fail(_ error: SluiceClientError) {
        if lastError == nil { lastError = error }
        session.close()
        context?.close(promise: nil)
    }

    private func end(_ error: SluiceClientError) {
        guard !isEnded else { return }
        isEnded = true
        session.close()
        core.linkEnded(self, error)
    }

    // MARK: - Output

    var isWritable: Bool { context?.channel.isWritable ?? false }

    /// Adds a small frame to what the next flush sends.
    func write(_ header: FrameHeader, _ body: (inout ByteBuffer) -> Void = { _ in }) { out.writeFrame(header, body) }

    /// Adds a whole frame that is kept elsewhere as well.
    func write(_ frame: ByteBuffer) {
        guard let context else { return }
        writeGathered(context)
        context.write(wrapOutboundOut(frame), promise: nil)
    }

    func flush() {
        guard let context else { return }
        writeGathered(context)
        context.flush()
    }

    private func writeGathered(_ context: ChannelHandlerContext) {
        guard out.readableBytes > 0 else { return }
        context.write(wrapOutboundOut(out), promise: nil)
        out = ByteBuffer()
    }

    func close() { context?.close(promise: nil) }

    // MARK: - Silence

    private func scheduleIdleCheck() {
        guard let context, limits.idleTimeoutMs > 0 else { return }
        hasHeardSomething = false
        let time = TimeAmount.milliseconds(Int64(limits.idleTimeoutMs))
        context.eventLoop.assumeIsolated().scheduleTask(in: time) { [weak self] in
            self?.checkIdle()
            return
        }
    }

    private func checkIdle() {
        guard !isEnded, context != nil else { return }
        if hasHeardSomething {
            hasPinged = false
        } else if hasPinged {
            return fail(SluiceClientError(.connectionLost, "the server did not answer a ping"))
        } else {
            hasPinged = true
            write(FrameHeader(.ping, .ping))
            flush()
        }
        scheduleIdleCheck()
    }
}
