internal import DequeModule
internal import Gateway
internal import Logging
internal import MQTTProtocol
internal import MessageModel
internal import NIOCore
internal import StorageService
internal import Transport

/// The thin shell around one MQTT connection: bytes to the state machine, messages to the gateway, deliveries back, one
/// write for each tick of the event loop.
final class MQTTConnectionHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Messages of this connection that are in one append.
    struct Stored {
        var token: UInt64
        var tickets: Range<UInt64>
    }

    let front: MQTTFront
    /// Everything here is touched on the event loop only, by one caller at a time: what each message comes by is not
    /// checked for overlapping accesses, which costs more than decoding it.
    @exclusivity(unchecked)
    var machine: MQTTConnectionStateMachine
    /// What of the machine each delivery asks for: a getter of another module copies the whole value.
    @exclusivity(unchecked)
    private(set) var isConnected = false
    @exclusivity(unchecked)
    private(set) var hasEnded = false
    @exclusivity(unchecked)
    private(set) var version = ProtocolVersion.v3_1_1
    @exclusivity(unchecked)
    private(set) var usesTopicAliases = false
    /// The channel takes more without keeping it.
    @exclusivity(unchecked)
    private var isWritable = true
    @exclusivity(unchecked)
    var session: GatewaySession?
    /// The identifier that the client gave, or was given; empty before CONNECT.
    var client = MQTTString([])
    /// Names this connection among those of the front.
    private(set) var number: UInt64 = 0
    private var context: ChannelHandlerContext?
    private var isOpen = false
    /// What of this connection is in the counters of the front.
    private var isCounted = false
    private var isCountedAsStored = false
    private var countedFilters = 0
    /// What a load balancer said of it.
    private var announced: ClientAddress?
    /// Where the client is; nil where nobody knows.
    var peer: SocketAddress? { announced.map(\.address) ?? context?.remoteAddress }
    private(set) var connectedAt = Timestamp.zero
    /// What came and was not handled: the packet that a read broke off in, or what came behind a CONNECT.
    private var split: ByteBuffer?
    private var splitNeeds = 0
    /// The place of the address that its last message went to.
    @exclusivity(unchecked)
    var lastAddress = 0
    /// What is to be written at the end of this tick.
    @exclusivity(unchecked)
    var output: ByteBuffer?
    /// The front writes the output at the end of the tick.
    @exclusivity(unchecked)
    private var isWriteDue = false
    private var isLingering = false
    private var isReadingPaused = false

    /// An authentication that is under way, and who the client was found to be; nil where it was not asked.
    var authentication: ClientAuthentication?
    var user: String?
    /// What is known of a CONNECT that waits for storage.
    var opening: Opening?
    /// Requests that wait for their answers, by their tokens.
    var requests: [UInt64: (Result<StorageReply, SluiceError>) -> Void] = [:]
    @exclusivity(unchecked)
    var stored: Deque<Stored> = []
    /// The client's filters, at their numbers.
    @exclusivity(unchecked)
    var filters = FilterTable()
    /// The inbox of a stored session; nil where the session ends with the connection.
    @exclusivity(unchecked)
    var inbox: SessionInbox?
    /// Where messages are leased from, by attachment.
    var sources: [UInt32: LeasedSource] = [:]
    var hasSettled = false
    /// The groups that it is a member of, by attachment.
    var groupIDs: [UInt32: SubscriptionID] = [:]
    var nextAttachment: UInt32 = SessionInbox.attachment + 1
    /// Messages of groups that are to be this client's, with QoS 2; nil where there are none.
    var chosen: ChosenMessages?
    /// Messages with QoS 1 and 2 that wait for room in the client's window, encoded.
    @exclusivity(unchecked)
    var waiting: Deque<WaitingPublish> = []
    var waitingBytes = 0
    /// Last values that are to be sent.
    var retainedScans: Deque<RetainedScan> = []
    var isScanning = false
    /// New filters for values of the server's own, which are sent behind the SUBACK.
    var systemScans: [Subscription] = []

    init(front: MQTTFront) {
        self.front = front
        machine = MQTTConnectionStateMachine(
            sharing: front.serverOptions,
            nowMilliseconds: front.nowMilliseconds()
        )
    }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        // Behind a WebSocket the connection is there before the front is.
        if context.channel.isActive { begin(context) }
    }

    func channelActive(context: ChannelHandlerContext) { begin(context) }

    private func begin(_ context: ChannelHandlerContext) {
        guard !isOpen else { return }
        isOpen = true
        number = front.opened(self)
        front.watch(self)
        if front.isBeyondLimits { context.close(promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        guard isOpen else { return }
        isOpen = false
        machine.connectionLost()
        hasEnded = true
        isConnected = false
        leaveSession()
        front.closed(self, number: number)
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = unwrapInboundIn(data)
        front.counters.bytesReceived &+= UInt64(buffer.readableBytes)
        receive(&buffer)
    }

    private func receive(_ buffer: inout ByteBuffer) {
        guard !hasEnded else { return }
        if opening != nil {
            // What comes behind a CONNECT waits for its answer.
            if split == nil { split = buffer } else { split?.writeBuffer(&buffer) }
            if let split, split.readableBytes >= MQTTFrontOptions.openingBytes { setReading(false) }
            return
        }
        let now = front.nowMilliseconds()
        if split != nil, !completeSplit(from: &buffer, now: now) { return }
        let consumed = buffer.withUnsafeReadableBytes { parse($0, now: now) }
        buffer.moveReaderIndex(forwardBy: consumed)
        if buffer.readableBytes > 0, !hasEnded { keepSplit(&buffer) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        finishRead()
    }

    /// Where its messages are gathered with those of others.
    @inline(__always)
    var appends: TickAppends { front.appends(session?.tenant ?? .default) }

    /// Hands over what a read brought, and writes what is to be answered.
    private func finishRead() {
        front.gatherer.flushIfNeeded(session)
        appends.flushLater()
        flushSettlements()
        if !version.hasProperties, machine.asksForPause() { setReading(false) }
        // A farewell is to be written before the connection is closed.
        if isLingering { return writeOutput() }
        // Behind the round, which mostly brings more.
        guard let output, output.readableBytes > 0, !isWriteDue else { return }
        isWriteDue = true
        front.writeLater(self)
    }

    /// The end of the tick, and of its round.
    func writeDue() {
        isWriteDue = false
        writeOutput()
        // Who does not take his answers is not read either: what waits for him has a bound.
        if !isWritable, isStuck { setReading(false) }
    }

    /// More waits to be sent than one client may have.
    private var isStuck: Bool { unsentBytes >= front.options.outgoingBufferBytes }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        if isWritable {
            resumeReadingIfPossible()
            continueScan()
        }
        context.fireChannelWritabilityChanged()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case ChannelEvent.inputClosed:
            writeOutput()
            context.close(promise: nil)
        case let client as ClientAddress: announced = client
        case is ChannelShouldQuiesceEvent: end(.serverShuttingDown)
        default: break
        }
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
                if opening != nil {
                    // A CONNECT that was split: what follows it waits.
                    if buffer.readableBytes > 0 { split = buffer }
                    return false
                }
                if consumed > 0 || hasEnded { return !hasEnded }
                // Only the length was complete: `parse` has said how much more is needed.
                if splitNeeds == before { return true }
            }
        }
        return true
    }

    private func keepSplit(_ buffer: inout ByteBuffer) {
        guard opening == nil else {
            split = buffer
            return
        }
        var kept = ByteBufferAllocator().buffer(capacity: min(splitNeeds, 64 << 10))
        kept.writeBuffer(&buffer)
        split = kept
    }

    /// The client is accepted.
    func accepted() {
        isCountedAsStored = inbox != nil
        front.counters.clientConnected(isStored: isCountedAsStored)
        isCounted = true
        connectedAt = Timestamp(rawValue: Timestamp.wallClock())
        isConnected = true
        version = machine.version
        usesTopicAliases = machine.usesTopicAliases
    }

    /// The client's filters are others now. Those of stored sessions are counted where they are stored.
    func countFilters() {
        guard !isCountedAsStored else { return }
        front.counters.subscriptions += filters.count - countedFilters
        countedFilters = filters.count
    }

    /// The client has left.
    func uncount() {
        guard isCounted else { return }
        isCounted = false
        front.counters.clientLeft(isStored: isCountedAsStored)
        countFilters()
    }

    /// Goes on with what came behind a CONNECT that is answered.
    func resumeParsing() {
        opening = nil
        setReading(true)
        guard var rest = split else { return writeOutput() }
        split = nil
        splitNeeds = 0
        receive(&rest)
        finishRead()
    }

    /// Handles the whole packets at the beginning of `bytes`.
    /// - Returns: how many bytes they took; `splitNeeds` says how much the next one needs.
    private func parse(_ bytes: UnsafeRawBufferPointer, now: Int64) -> Int {
        var output = takeOutput()
        defer { putOutput(output) }
        var position = 0
        var packets: UInt64 = 0
        var answers: UInt64 = 0
        defer {
            front.counters.packetsReceived &+= packets
            front.counters.packetsSent &+= answers
        }
        while position < bytes.count {
            if bytes[position] >> 4 == PacketType.publish.rawValue, isConnected {
                takePlain(bytes, &position, now: now)
                if position == bytes.count { break }
            }
            let rest = bytes.slice(position..<bytes.count)
            let plain = machine.receivedPlainAcknowledgements(rest, nowMilliseconds: now, output: &output)
            if plain.taken > 0 {
                packets &+= UInt64(plain.taken)
                answers &+= UInt64(plain.answered)
                position += 4 * plain.taken
                if !waiting.isEmpty { sendWaiting(output: &output) }
                continue
            }
            if let decision = machine.receivedShortAcknowledgement(rest, nowMilliseconds: now, output: &output) {
                if case .close(let end) = decision {
                    close(end, output: &output)
                    return bytes.count
                }
                perform(decision, output: &output)
                packets &+= 1
                if rest[0] == 0x50 || rest[0] == 0x62 { answers &+= 1 }
                position += 4
                continue
            }
            switch machine.nextPacket(rest, output: &output) {
            case .packet(let header):
                packets &+= 1
                // What is answered by a packet, the one way or the other.
                if header.isAnswered { answers &+= 1 }
                switch header.type {
                case .publish:
                    switch machine.receivedPublish(header, rest, nowMilliseconds: now, output: &output) {
                    case .accept(let publish): accept(publish, rest, output: &output)
                    case .duplicate: break
                    case .close(let end):
                        close(end, output: &output)
                        return bytes.count
                    }
                case .puback, .pubrec, .pubrel, .pubcomp:
                    let decision = machine.receivedAcknowledgement(
                        header,
                        rest,
                        nowMilliseconds: now,
                        output: &output
                    )
                    if case .close(let end) = decision {
                        close(end, output: &output)
                        return bytes.count
                    }
                    perform(decision, output: &output)
                case .connect, .connack, .subscribe, .suback, .unsubscribe, .unsuback, .pingreq, .pingresp, .disconnect,
                    .auth:
                    let action = machine.received(header, rest, nowMilliseconds: now, output: &output)
                    perform(action, now: now, output: &output)
                    if hasEnded { return bytes.count }
                }
                position += header.totalLength
            case .needMore(let total):
                splitNeeds = total
                return position
            case .paused:
                return opening == nil ? bytes.count : position
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
        case .authorize(let connect): authorize(connect, output: &output)
        case .subscribe(let subscribe): self.subscribe(subscribe, output: &output)
        case .unsubscribe(let packet): unsubscribe(packet, output: &output)
        case .close(let end): close(end, output: &output)
        case .authenticate(let data, let isNew): authenticate(data, isNew: isNew, output: &output)
        case .publish, .acknowledged, .received, .released:
            // They take the shorter way.
            break
        }
    }

    private func perform(_ decision: AcknowledgementDecision, output: inout ByteBuffer) {
        switch decision {
        case .none, .close: break
        case .acknowledged(let token, _):
            acknowledged(DeliveryToken(rawValue: token))
            if !waiting.isEmpty { sendWaiting(output: &output) }
        case .received(let identifier, let token):
            confirmed(identifier, DeliveryToken(rawValue: token), output: &output)
        case .released(let identifier): released(identifier)
        }
    }

    func deadlineReached(now: Int64) {
        guard context != nil, !hasEnded else { return }
        var output = takeOutput()
        if let end = machine.timerFired(nowMilliseconds: now, output: &output) {
            close(end, output: &output)
        } else {
            front.watch(self)
        }
        putOutput(output)
        writeOutput()
    }

    /// Asks storage for something that is not on the path of messages.
    func ask(_ request: StorageRequest, _ completion: @escaping (Result<StorageReply, SluiceError>) -> Void) {
        let token = front.nextToken()
        requests[token] = completion
        session?.storage.perform(request, token: token)
    }

    // MARK: Ending

    /// Ends the connection from this side.
    func end(_ reason: ReasonCode) {
        guard !hasEnded else { return }
        var output = takeOutput()
        close(machine.end(reason, output: &output), output: &output)
        putOutput(output)
        writeOutput()
    }

    func close(_ end: ConnectionEnd, output: inout ByteBuffer) {
        guard !isLingering else { return }
        isLingering = true
        hasEnded = true
        isConnected = false
        if case .violation(let error) = end {
            front.logger.debug(
                "an MQTT connection broke the protocol",
                metadata: ["client": "\(client)", "why": "\(error)"]
            )
        }
        leaveSession()
        guard let context else { return }
        if case .disconnectedByClient = end, output.readableBytes == 0 {
            // It waits for nothing.
            return context.close(promise: nil)
        }
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
        if !systemScans.isEmpty {
            let scans = systemScans
            systemScans = []
            for subscription in scans { sendSystemValues(for: subscription) }
        }
        guard let buffer = output.take() else { return }
        guard buffer.readableBytes > 0, let context else {
            front.putBuffer(buffer)
            return
        }
        front.counters.bytesSent &+= UInt64(buffer.readableBytes)
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
        front.putBuffer(buffer)
    }

    /// Bytes that the channel has not been able to send yet.
    var unsentBytes: Int {
        guard !isWritable, let context else { return 0 }
        return (try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    }

    /// Stops reading, the only brake there is for clients of 3.x, or goes on with it.
    private func setReading(_ isReading: Bool) {
        guard isReadingPaused == isReading else { return }
        isReadingPaused = !isReading
        try? context?.channel.syncOptions?.setOption(.autoRead, value: isReading)
    }

    func resumeReadingIfPossible() {
        if isReadingPaused, opening == nil, !isStuck, !machine.asksForPause() { setReading(true) }
    }
}

extension PacketHeader {
    /// The server answers it, if it is as it should be.
    fileprivate var isAnswered: Bool {
        switch type {
        case .publish: flags & 0x06 != 0
        case .puback, .pubcomp, .disconnect, .connack, .suback, .unsuback, .pingresp: false
        case .connect, .pubrec, .pubrel, .subscribe, .unsubscribe, .pingreq, .auth: true
        }
    }
}

extension PublishGatherer {
    func flushIfNeeded(_ session: GatewaySession?) {
        if !isEmpty, let session { flush(session: session) }
    }
}
