internal import DequeModule
internal import Gateway
internal import Logging
internal import MQTTProtocol
internal import MessageModel
internal import NIOCore
internal import StorageService

/// The thin shell around one MQTT connection: bytes to the state machine, messages to the gateway, deliveries back, one
/// write for each tick of the event loop.
final class MQTTConnectionHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// A filter that the client subscribed to.
    struct Subscription {
        var filter: MQTTString
        var qos: QoS
        var isNoLocal: Bool
        var identifier: UInt32?
    }

    /// Messages of this connection that are in one append.
    struct Stored {
        var token: UInt64
        var tickets: Range<UInt64>
    }

    let front: MQTTFront
    var machine: MQTTConnectionStateMachine
    var session: GatewaySession?
    /// Names this connection among those of the front.
    private(set) var number: UInt64 = 0
    private var context: ChannelHandlerContext?
    /// The packet that a read broke off in; the rest of it comes first in the next.
    private var split: ByteBuffer?
    private var splitNeeds = 0
    /// What is to be written at the end of this tick.
    var output: ByteBuffer?
    private var isReading = false
    private var isLingering = false
    private var isReadingPaused = false
    var stored: Deque<Stored> = []
    var subscriptions: [UInt32: Subscription] = [:]
    var subscriptionIDs: [MQTTString: UInt32] = [:]
    var nextSubscription: UInt32 = 1
    /// QoS 1 messages that wait for room in the client's window, encoded.
    var waiting: Deque<WaitingPublish> = []
    var waitingBytes = 0
    var nextDelivery: UInt64 = 1

    init(front: MQTTFront) {
        self.front = front
        machine = MQTTConnectionStateMachine(
            options: front.options.server,
            nowMilliseconds: front.nowMilliseconds()
        )
    }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func channelActive(context: ChannelHandlerContext) {
        number = front.opened(self)
        front.watch(self)
    }

    func channelInactive(context: ChannelHandlerContext) {
        machine.connectionLost()
        publishWill()
        front.gatherer.flushIfNeeded(session)
        front.closed(self, number: number)
        session?.storage.close()
        session = nil
        self.context = nil
        subscriptions = [:]
        waiting = []
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = unwrapInboundIn(data)
        isReading = true
        guard !isLingering, !machine.hasEnded else { return }
        let now = front.nowMilliseconds()
        if split != nil, !completeSplit(from: &buffer, now: now) { return }
        let consumed = buffer.withUnsafeReadableBytes { parse($0, now: now) }
        buffer.moveReaderIndex(forwardBy: consumed)
        if buffer.readableBytes > 0, !machine.hasEnded { keepSplit(&buffer) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        front.gatherer.flushIfNeeded(session)
        pauseReadingIfNeeded()
        writeOutput()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed? = event as? ChannelEvent { context.close(promise: nil) }
    }

    // MARK: Framing

    /// Fills the packet that the last read broke off in.
    /// - Returns: whether parsing can go on with what is left of `buffer`.
    private func completeSplit(from buffer: inout ByteBuffer, now: Int64) -> Bool {
        guard var packet = split else { return true }
        split = nil
        while packet.readableBytes < splitNeeds {
            guard var piece = buffer.readSlice(length: min(splitNeeds - packet.readableBytes, buffer.readableBytes)),
                piece.readableBytes > 0
            else {
                split = packet
                return false
            }
            packet.writeBuffer(&piece)
            if packet.readableBytes >= splitNeeds {
                let before = splitNeeds
                let consumed = packet.withUnsafeReadableBytes { parse($0, now: now) }
                if consumed > 0 || machine.hasEnded { return !machine.hasEnded }
                // Only the length was complete: `parse` has said how much more is needed.
                if splitNeeds == before { return true }
            }
        }
        return true
    }

    private func keepSplit(_ buffer: inout ByteBuffer) {
        var kept = ByteBufferAllocator().buffer(capacity: min(splitNeeds, 64 << 10))
        kept.writeBuffer(&buffer)
        split = kept
    }

    /// Handles the whole packets at the beginning of `bytes`.
    /// - Returns: how many bytes they took; `splitNeeds` says how much the next one needs.
    private func parse(_ bytes: UnsafeRawBufferPointer, now: Int64) -> Int {
        var output = takeOutput()
        defer { putOutput(output) }
        var position = 0
        while position < bytes.count {
            let rest = bytes.slice(position..<bytes.count)
            switch machine.nextPacket(rest, output: &output) {
            case .packet(let header):
                if header.type == .publish {
                    switch machine.receivedPublish(header, rest, nowMilliseconds: now, output: &output) {
                    case .accept(let publish):
                        accept(publish, rest, output: &output)
                    case .close(let end):
                        close(end, output: &output)
                        return bytes.count
                    }
                } else {
                    let action = machine.received(header, rest, nowMilliseconds: now, output: &output)
                    perform(action, now: now, output: &output)
                    if machine.hasEnded { return bytes.count }
                }
                position += header.totalLength
            case .needMore(let total):
                splitNeeds = total
                return position
            case .paused:
                return bytes.count
            case .close(let end):
                close(end, output: &output)
                return bytes.count
            }
        }
        return position
    }

    // MARK: Actions

    private func perform(_ action: MQTTAction, now: Int64, output: inout ByteBuffer) {
        switch action {
        case .none: break
        case .authorize(let connect): authorize(connect, now: now, output: &output)
        case .publish: break
        case .subscribe(let subscribe): self.subscribe(subscribe, output: &output)
        case .unsubscribe(let packet): unsubscribe(packet, output: &output)
        case .acknowledged: sendWaiting(output: &output)
        case .close(let end): close(end, output: &output)
        }
    }

    private func authorize(_ connect: ConnectPacket, now: Int64, output: inout ByteBuffer) {
        guard front.connectionCount <= front.options.maximumConnections else {
            close(machine.refuse(.quotaExceeded, output: &output), output: &output)
            return
        }
        var acceptance = ConnectAcceptance()
        if connect.clientIdentifier.isEmpty { acceptance.assignedClientIdentifier = front.makeClientIdentifier() }
        if let end = machine.accept(acceptance, nowMilliseconds: now, output: &output) {
            close(end, output: &output)
            return
        }
        session = front.gateway.openSession(delegate: self)
        front.register(self, as: machine.clientIdentifier)
        front.watch(self)
    }

    func deadlineReached(now: Int64) {
        guard context != nil, !machine.hasEnded else { return }
        var output = takeOutput()
        if let end = machine.timerFired(nowMilliseconds: now, output: &output) {
            close(end, output: &output)
        } else {
            front.watch(self)
        }
        putOutput(output)
        writeOutput()
    }

    // MARK: Ending

    /// Ends the connection from this side.
    func end(_ reason: ReasonCode) {
        guard !machine.hasEnded else { return }
        var output = takeOutput()
        close(machine.end(reason, output: &output), output: &output)
        putOutput(output)
        writeOutput()
    }

    func close(_ end: ConnectionEnd, output: inout ByteBuffer) {
        guard !isLingering else { return }
        isLingering = true
        if case .violation(let error) = end {
            front.logger.debug(
                "an MQTT connection broke the protocol",
                metadata: ["client": "\(machine.clientIdentifier)", "why": "\(error)"]
            )
        }
        front.gatherer.flushIfNeeded(session)
        publishWill()
        guard let context else { return }
        // Behind everything that is being written in this tick.
        let bound = NIOLoopBound(self, eventLoop: front.eventLoop)
        context.eventLoop.execute {
            guard let context = bound.value.context else { return }
            context.close(mode: .output, promise: nil)
            context.eventLoop.scheduleTask(in: .milliseconds(MQTTFrontOptions.lingerMilliseconds)) {
                bound.value.context?.close(promise: nil)
            }
        }
    }

    // MARK: Output

    /// The buffer of this tick: taken out while it is written to, so that it has one owner.
    func takeOutput() -> ByteBuffer {
        guard let buffer = output.take() else { return front.takeBuffer() }
        return buffer
    }

    func putOutput(_ buffer: ByteBuffer) { output = buffer }

    func writeOutput() {
        guard let buffer = output.take() else { return }
        guard buffer.readableBytes > 0, let context else {
            front.putBuffer(buffer)
            return
        }
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
        front.putBuffer(buffer)
    }

    /// Bytes that the channel has not been able to send yet.
    var unsentBytes: Int {
        guard let context, !context.channel.isWritable else { return 0 }
        return (try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    }

    private func pauseReadingIfNeeded() {
        guard machine.isInboundWindowFull, !isReadingPaused, !machine.version.hasProperties else { return }
        isReadingPaused = true
        try? context?.channel.syncOptions?.setOption(.autoRead, value: false)
    }

    func resumeReadingIfPossible() {
        guard isReadingPaused, !machine.isInboundWindowFull else { return }
        isReadingPaused = false
        try? context?.channel.syncOptions?.setOption(.autoRead, value: true)
    }
}

extension PublishGatherer {
    func flushIfNeeded(_ session: GatewaySession?) {
        if !isEmpty, let session { flush(session: session) }
    }
}
