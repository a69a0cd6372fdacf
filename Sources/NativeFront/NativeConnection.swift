package import Gateway
package import Logging
internal import MessageModel
package import NIOCore
internal import NativeProtocol
internal import StorageService

/// One native client's connection: frames in, storage asked, answers gathered and written once a tick.
///
/// What may be said when is decided by `ServerSession`; this handler reads, asks and writes. Everything happens on the
/// channel's event loop, which is also the gateway's.
package final class NativeConnection: ChannelDuplexHandler {
    package typealias InboundIn = ByteBuffer
    package typealias OutboundIn = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    let gateway: Gateway
    let configuration: NativeConfiguration
    var logger: Logger
    /// Sent away once it has said that it speaks the protocol.
    private let isRefused: Bool

    var context: ChannelHandlerContext?
    var gatewaySession: GatewaySession?
    var session: ServerSession
    private var parser = FrameParser()
    /// What this tick has to say.
    var out = ByteBuffer()
    var acknowledgements = ProduceAckGatherer()
    var handles: HandleTable<OpenHandle>
    /// The subscriptions among the handles, by their places: each delivery and each settlement looks here.
    var attached: [SubscriptionHandle?] = []
    var pending: PendingRequests<RequestContext>
    /// A few records of a large batch, as a batch of their own.
    var excerpt: [UInt8] = []
    /// Subscriptions whose credit changed.
    var creditDue: [SubscriptionHandle] = []

    /// Bytes of appends that storage has not answered, and the size of each in the order in which they were made.
    var bytesInFlight = 0
    var appendSizes = CircularBuffer<Int>()
    private var isReadHeld = false
    /// Something was handed to the channel that no flush has followed.
    private var hasUnflushedChunk = false
    /// Bytes written since the channel stopped taking them.
    private var bytesHeldBack = 0
    /// Something was delivered since storage was told to go on.
    var hasDelivered = false
    private var hasHeardSomething = false
    private var hasPinged = false
    private var idleTask: Scheduled<Void>?

    /// The buffer for a tick's output is kept for the next one up to this size.
    private static let keptOutputBytes = 1 << 20
    /// A delivery of more is handed to the channel before the tick ends, so that no buffer grows much beyond it.
    static let outputChunkBytes = 512 << 10

    package init(
        gateway: Gateway,
        configuration: NativeConfiguration,
        isRefused: Bool = false,
        logger: Logger
    ) {
        self.gateway = gateway
        self.configuration = configuration
        self.isRefused = isRefused
        self.logger = logger
        session = ServerSession(limits: configuration.limits)
        handles = HandleTable(limit: Int(configuration.limits.maxHandles))
        pending = PendingRequests(limit: Int(configuration.limits.maxOutstandingRequests))
    }

    // MARK: - The channel's events

    package func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { begin(context) }
    }

    package func channelActive(context: ChannelHandlerContext) {
        begin(context)
        context.fireChannelActive()
    }

    private func begin(_ context: ChannelHandlerContext) {
        guard gatewaySession == nil else { return }
        gatewaySession = gateway.openSession(delegate: self)
        gatewaySession?.storage.takeUp(bytes: configuration.deliveryBytes)
        scheduleIdleCheck(after: configuration.handshakeTimeout, context)
    }

    package func handlerRemoved(context: ChannelHandlerContext) { finish() }

    package func channelInactive(context: ChannelHandlerContext) {
        finish()
        context.fireChannelInactive()
    }

    /// Lets go of everything. Storage reports nothing afterwards.
    private func finish() {
        session.close()
        gatewaySession?.storage.close()
        gatewaySession = nil
        idleTask?.cancel()
        idleTask = nil
        context = nil
        creditDue.removeAll()
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        hasHeardSomething = true
        let buffer = unwrapInboundIn(data)
        guard session.phase != .closed else { return }
        buffer.withUnsafeReadableBytes { bytes in
            var position = 0
            reading: while true {
                switch parser.next(bytes, &position, limit: session.frameLimit) {
                case .preamble(let preamble):
                    guard receivedPreamble(preamble) else { break reading }
                case .frame(let bytes):
                    received(bytes)
                    if session.phase == .closed { break reading }
                case .needsMore:
                    break reading
                case .invalidLength(let length):
                    let error = SluiceError(
                        length < UInt32(FrameHeader.smallestLength) ? .malformed : .tooLarge,
                        "a frame of \(length) bytes; between \(FrameHeader.smallestLength) and \(session.frameLimit) are "
                            + "accepted"
                    )
                    end(with: error)
                    break reading
                }
            }
        }
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        writeOutput()
        context.fireChannelReadComplete()
    }

    /// Holds reading back while storage is behind, or the client does not read what it asked for.
    package func read(context: ChannelHandlerContext) {
        if bytesInFlight > configuration.maxBytesInFlight || !context.channel.isWritable {
            isReadHeld = true
        } else {
            context.read()
        }
    }

    func resumeReading() {
        guard isReadHeld, let context, bytesInFlight <= configuration.maxBytesInFlight / 2, context.channel.isWritable
        else { return }
        isReadHeld = false
        context.read()
    }

    package func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            bytesHeldBack = 0
            goOn()
            resumeReading()
        }
        context.fireChannelWritabilityChanged()
    }

    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        logger.debug("native connection failed", metadata: ["error": "\(error)"])
        context.close(promise: nil)
    }

    package func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is NativeShutdown else { return context.fireUserInboundEventTriggered(event) }
        drain()
    }

    // MARK: - Frames

    private func receivedPreamble(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let (error, isNative) = session.receivedPreamble(bytes) else {
            Preamble().write(to: &out)
            if isRefused {
                end(with: SluiceError(.busy, "the server has as many connections as it may", hint: "try again later"))
                return false
            }
            return true
        }
        if isNative {
            Preamble().write(to: &out)
            end(with: error)
        } else {
            context?.close(promise: nil)
        }
        return false
    }

    private func received(_ bytes: UnsafeRawBufferPointer) {
        let (frame, problem) = Frame.read(bytes)
        let admission = session.admit(frame.header)
        if let problem {
            switch admission {
            case .request, .produce, .refuse: refuse(frame, problem.error)
            case .hello, .credit, .cancel, .ping, .ignore, .fatal: end(with: problem.error)
            }
            return
        }
        switch admission {
        case .produce: produce(frame)
        case .credit: credit(frame)
        case .request(let opcode): perform(opcode, frame)
        case .refuse(let error): refuse(frame, error)
        case .cancel: cancel(frame.header)
        case .ping: out.writeFrame(FrameHeader(.pong, .ping, correlation: frame.header.correlation))
        case .ignore: break
        case .hello: hello(frame)
        case .fatal(let error): end(with: error)
        }
    }

    private func hello(_ frame: Frame) {
        do throws(SluiceError) {
            let request = try frame.decode { HelloRequest(&$0) }
            let response = try session.receivedHello(
                request,
                serverName: configuration.serverName,
                serverVersion: configuration.serverVersion
            )
            acknowledgements.version = session.version(.produceAck)
            logger[metadataKey: "client"] = "\(request.clientName)"
            respond(to: frame.header) { response.write(to: &$0) }
            hasPinged = false
            if let context {
                idleTask?.cancel()
                scheduleIdleCheck(after: .milliseconds(Int64(configuration.limits.idleTimeoutMs)), context)
            }
        } catch {
            end(with: error)
        }
    }

    private func cancel(_ header: FrameHeader) {
        guard let token = pending.token(correlation: header.correlation), case .fetch? = pending.context(token) else {
            return
        }
        _ = pending.take(token)
        gatewaySession?.storage.cancel(token: token)
    }

    // MARK: - Output

    func respond(to header: FrameHeader, _ body: (inout ByteBuffer) -> Void = { _ in }) {
        var answer = header
        answer.rawKind = FrameKind.response.rawValue
        answer.flags = []
        out.writeFrame(answer) { buffer in
            ResponseStatus.ok.write(to: &buffer)
            body(&buffer)
        }
    }

    func respond(to header: FrameHeader, error: SluiceError) {
        var answer = header
        answer.rawKind = FrameKind.response.rawValue
        out.writeError(error, answer)
    }

    /// Hands what was gathered to the channel: one write and one flush.
    func writeOutput() {
        guard let context else { return }
        guard session.phase != .closed else { return out.clear() }
        acknowledgements.flush(to: &out)
        if out.readableBytes > 0 { writeChunk(context) }
        if hasUnflushedChunk {
            hasUnflushedChunk = false
            context.flush()
            guard self.context != nil else { return }
        }
        if context.channel.isWritable { goOn() }
        if session.phase == .draining, pending.isEmpty, bytesInFlight == 0 { endOutput() }
    }

    /// Hands `out` over without a flush.
    func writeChunk(_ context: ChannelHandlerContext) {
        let bytes = out.readableBytes
        hasUnflushedChunk = true
        context.write(wrapOutboundOut(out), promise: nil)
        if out.capacity > Self.keptOutputBytes { out = ByteBuffer() } else { out.clear() }
        guard !context.channel.isWritable else { return }
        bytesHeldBack += bytes
        if bytesHeldBack > configuration.maxOutgoingBytes {
            logger.notice("closing a native connection that does not read", metadata: ["bytes": "\(bytesHeldBack)"])
            session.close()
            context.close(promise: nil)
        }
    }

    // MARK: - The end

    /// Says why in a GOAWAY and ends the connection.
    func end(with error: SluiceError) {
        logger.debug("ending a native connection", metadata: ["error": "\(error)"])
        out.writeError(error, FrameHeader(.goaway, .goaway))
        session.close()
        endOutput()
    }

    private func drain() {
        guard session.phase == .open else {
            end(with: SluiceError(.shuttingDown, "the server is shutting down", hint: "connect again"))
            return
        }
        session.drain()
        // What came now would not reach the client, and count as delivered.
        gatewaySession?.storage.stopDelivering()
        out.writeError(
            SluiceError(.shuttingDown, "the server is shutting down", hint: "connect again"),
            FrameHeader(.goaway, .goaway)
        )
        // What waits for messages that may never come is not waited for.
        for token in pending.tokens {
            guard case .fetch? = pending.context(token), let entry = pending.take(token) else { continue }
            gatewaySession?.storage.cancel(token: token)
            respond(to: entry.header, error: SluiceError(.shuttingDown, "the server is shutting down"))
        }
        writeOutput()
    }

    /// Writes the rest, tells the client that nothing more comes, and cuts off soon after: the pause lets it read the
    /// reason before a reset of the connection could discard it.
    private func endOutput() {
        guard let context else { return }
        session.close()
        gatewaySession?.storage.stopDelivering()
        acknowledgements.flush(to: &out)
        if out.readableBytes > 0 { writeChunk(context) }
        context.flush()
        guard self.context != nil else { return }
        context.close(mode: .output, promise: nil)
        guard self.context != nil else { return }
        idleTask?.cancel()
        idleTask = context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(500)) { [weak self] in
            self?.context?.close(promise: nil)
            return
        }
    }

    // MARK: - Silence

    private func scheduleIdleCheck(after time: TimeAmount, _ context: ChannelHandlerContext) {
        hasHeardSomething = false
        idleTask = context.eventLoop.assumeIsolated().scheduleTask(in: time) { [weak self] in
            self?.checkIdle()
            return
        }
    }

    private func checkIdle() {
        guard let context else { return }
        switch session.phase {
        case .preamble:
            context.close(promise: nil)
            return
        case .hello:
            end(with: SluiceError(.protocolViolation, "HELLO did not come in time"))
            return
        case .closed:
            return
        case .open, .draining:
            break
        }
        if hasHeardSomething || isReadHeld {
            hasPinged = false
        } else if hasPinged {
            end(with: SluiceError(.protocolViolation, "the client did not answer a ping"))
            return
        } else {
            hasPinged = true
            out.writeFrame(FrameHeader(.ping, .ping))
            writeOutput()
        }
        scheduleIdleCheck(after: .milliseconds(Int64(configuration.limits.idleTimeoutMs)), context)
    }
}

/// Told to every connection when the server stops.
package struct NativeShutdown: Sendable {
    package init() {}
}
