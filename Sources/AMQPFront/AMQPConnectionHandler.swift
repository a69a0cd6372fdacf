internal import AMQPModel
internal import AMQPProtocol
internal import Logging
internal import MessageModel
internal import NIOCore
internal import StorageService
internal import Transport

/// The thin shell around one AMQP connection: bytes to the state machine, what it asks for to the virtual host, messages
/// back, one write for each tick of the event loop.
final class AMQPConnectionHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let front: AMQPFront
    /// Everything here is touched on the event loop only, by one caller at a time: what each message comes by is not
    /// checked for overlapping accesses, which costs more than decoding it.
    @exclusivity(unchecked)
    var machine: AMQPConnectionStateMachine
    /// Nil until the virtual host is open.
    @exclusivity(unchecked)
    var host: VirtualHost?
    /// Who the client is; empty before it has logged in.
    var user = ""
    /// Names this connection among those of the front.
    private(set) var number: UInt64 = 0
    private var context: ChannelHandlerContext?
    private var isOpen = false
    /// What a load balancer said of it.
    private var announced: ClientAddress?
    /// Where the client is; nil where nobody knows.
    var peer: SocketAddress? { announced.map(\.address) ?? context?.remoteAddress }

    /// What came and was not used: the frames that a read broke off in, or what waits behind a method.
    private var unread: ByteBuffer?
    private var unreadNeeds = 0
    /// The machine waits for an answer.
    private var isPaused = false
    @exclusivity(unchecked)
    private(set) var hasEnded = false
    private var isLettingGo = false
    private var isLingering = false

    /// What is to be written at the end of this tick.
    @exclusivity(unchecked)
    private var output: ByteBuffer?
    @exclusivity(unchecked)
    private var isWriteDue = false
    /// The channel takes more without keeping it.
    @exclusivity(unchecked)
    private var isWritable = true
    private var isReadingPaused = false
    /// When the front looks at this connection next.
    private var watchedUntil = Int64.max

    /// Channels that are open, by their numbers.
    private var channels: [UInt16: ChannelState] = [:]
    @exclusivity(unchecked)
    private var lastChannel: ChannelState?
    /// Channels with messages that are stored, and whose clients are to be told.
    @exclusivity(unchecked)
    private var confirming: [ChannelState] = []
    /// Of published messages that storage has not answered.
    @exclusivity(unchecked)
    private(set) var unansweredMessages = 0
    @exclusivity(unchecked)
    private var unansweredBytes = 0
    /// It has published: it is not read while storage takes nothing.
    private(set) var isPublisher = false
    /// Consumers with deliveries whose credit in bytes is given back when the client has read them.
    @exclusivity(unchecked)
    var delivered: [Source] = []
    /// Consumers and getters of this connection.
    var sourceCount = 0

    init(front: AMQPFront) {
        self.front = front
        machine = AMQPConnectionStateMachine(
            options: front.options.server,
            randomness: (.random(in: 0 ... .max), .random(in: 0 ... .max)),
            nowMilliseconds: front.nowMilliseconds()
        )
    }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { begin(context) }
    }

    func channelActive(context: ChannelHandlerContext) { begin(context) }

    private func begin(_ context: ChannelHandlerContext) {
        guard !isOpen else { return }
        isOpen = true
        number = front.opened(self)
        watch()
        if front.isBeyondLimits || front.isShuttingDown { context.close(promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        guard isOpen else { return }
        isOpen = false
        hasEnded = true
        letGo {}
        machine.connectionLost()
        front.closed(number: number)
        unread = nil
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = unwrapInboundIn(data)
        guard !hasEnded else { return }
        machine.noteArrival(nowMilliseconds: front.nowMilliseconds())
        receive(&buffer)
    }

    func channelReadComplete(context: ChannelHandlerContext) { finishRead() }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        if isWritable {
            returnCredit()
            updateReading()
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
        case is ChannelShouldQuiesceEvent: end(.forced("broker forced connection closure with reason 'shutdown'"))
        default: break
        }
    }

    // MARK: Framing

    private func receive(_ buffer: inout ByteBuffer) {
        if isPaused { return keep(&buffer) }
        if unread != nil, !completeUnread(from: &buffer) { return }
        let consumed = buffer.withUnsafeReadableBytes { parse($0) }
        buffer.moveReaderIndex(forwardBy: consumed)
        if buffer.readableBytes > 0, !hasEnded { keep(&buffer) }
    }

    /// Fills up what the last read broke off in.
    /// - Returns: whether parsing can go on with what is left of `buffer`.
    private func completeUnread(from buffer: inout ByteBuffer) -> Bool {
        guard var kept = unread.take() else { return true }
        while kept.readableBytes > 0 {
            if kept.readableBytes < unreadNeeds {
                let missing = min(unreadNeeds - kept.readableBytes, buffer.readableBytes)
                if missing > 0, var piece = buffer.readSlice(length: missing) { kept.writeBuffer(&piece) }
            }
            guard kept.readableBytes >= unreadNeeds else {
                unread = kept
                return false
            }
            let consumed = kept.withUnsafeReadableBytes { parse($0) }
            kept.moveReaderIndex(forwardBy: consumed)
            if hasEnded { return false }
            if isPaused {
                unread = kept.readableBytes > 0 ? kept : nil
                if buffer.readableBytes > 0 { keep(&buffer) }
                return false
            }
        }
        return true
    }

    /// Keeps what cannot be used yet.
    private func keep(_ buffer: inout ByteBuffer) {
        if unread == nil {
            var kept = ByteBufferAllocator().buffer(capacity: max(buffer.readableBytes, min(unreadNeeds, 64 << 10)))
            kept.writeBuffer(&buffer)
            unread = kept
        } else {
            unread?.writeBuffer(&buffer)
        }
        if isPaused { updateReading() }
    }

    /// Goes on with what waited for an answer, if it was given.
    func resume() {
        guard isPaused, !hasEnded else { return }
        isPaused = false
        unreadNeeds = 0
        if var rest = unread.take() { receive(&rest) }
        updateReading()
        finishRead()
    }

    /// Takes the frames at the beginning of `bytes`.
    /// - Returns: how many bytes they took; `unreadNeeds` says how much the next step needs.
    private func parse(_ bytes: UnsafeRawBufferPointer) -> Int {
        var output = takeOutput()
        defer { putOutput(output) }
        var position = 0
        while position < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[position...])
            let step = machine.receive(rest, output: &output)
            switch step.action {
            case .none: break
            case .channel(let number, let action): perform(action, onChannel: number, rest, output: &output)
            case .needMore(let total):
                unreadNeeds = total
                return position
            case .paused:
                isPaused = true
                return position
            case .discard: return bytes.count
            case .channelOpened(let number):
                channels[number] = ChannelState(number: number)
            case .authenticate(let response): authenticate(response, output: &output)
            case .openVirtualHost(let name): openVirtualHost(name, output: &output)
            case .updateSecret(let secret): updateSecret(secret, output: &output)
            case .closeRequested: closeRequested(output: &output)
            case .failed(let error): failed(error)
            case .close(let end):
                close(end)
                return bytes.count
            }
            position += step.consumed
        }
        return position
    }

    /// Hands over what a read brought, and writes what is to be answered.
    private func finishRead() {
        host?.flushLater()
        if unansweredMessages >= AMQPFrontOptions.unansweredMessages
            || unansweredBytes >= AMQPFrontOptions.unansweredBytes
        {
            updateReading()
        }
        // A farewell is to be written before the connection is closed.
        if isLingering { return writeOutput() }
        // Behind the round, which mostly brings more.
        if let output, output.readableBytes > 0 { writeLater() }
    }

    // MARK: Channels

    /// The channel with this number; nil where it is not open.
    @inline(__always)
    func channel(_ number: UInt16) -> ChannelState? {
        if let last = lastChannel, last.number == number, last.isOpen { return last }
        guard let channel = channels[number] else { return nil }
        lastChannel = channel
        return channel
    }

    /// A channel is over: what belongs to it goes.
    /// - Returns: what is to be done for that in storage.
    func closed(_ channel: ChannelState) -> [ModelEffect] {
        if channels[channel.number] === channel { channels[channel.number] = nil }
        lastChannel = nil
        return host?.letGo(channel) ?? []
    }

    /// The state machine has closed a channel for an error.
    func channelFailed(_ channel: ChannelState) {
        host?.settle(machine.settled)
        let effects = closed(channel)
        host?.carryOut(effects) { _ in }
    }

    /// Refuses what a channel asked for: an error of the channel or of the connection.
    func refuse(_ channel: ChannelState, _ error: AMQPError, output: inout ByteBuffer) {
        guard channel.isOpen else { return }
        perform(machine.fail(channel: channel.number, error, output: &output))
    }

    /// What comes of an answer or of a deadline.
    func perform(_ action: AMQPAction) {
        switch action {
        case .failed(let error): failed(error)
        case .channel(let number, .failed):
            if let channel = channels[number] { channelFailed(channel) }
        case .close(let end): close(end)
        case .none, .needMore, .paused, .discard, .authenticate, .openVirtualHost, .updateSecret, .channelOpened,
            .channel, .closeRequested:
            break
        }
    }

    // MARK: Publishing

    /// Messages of this connection were handed to storage.
    @inline(__always)
    func notePublished(bytes: Int) {
        unansweredMessages &+= 1
        unansweredBytes &+= bytes
        isPublisher = true
    }

    /// Messages are where they are safe, or are refused.
    func answered(_ channel: ChannelState, messages: Int, bytes: Int) {
        unansweredMessages &-= messages
        unansweredBytes &-= bytes
        if isReadingPaused { updateReading() }
        confirmLater(channel)
    }

    /// The client is to be told of a channel's messages at the end of this tick.
    @inline(__always)
    func confirmLater(_ channel: ChannelState) {
        guard !channel.hasConfirms, channel.isOpen, !hasEnded else { return }
        channel.hasConfirms = true
        confirming.append(channel)
        writeLater()
    }

    /// Storage takes nothing, or does again.
    func setBlocked(_ isBlocked: Bool) {
        guard !hasEnded, host != nil else { return }
        withOutput { output in
            if isBlocked {
                machine.block(reason: "storage takes no messages", output: &output)
            } else {
                machine.unblock(output: &output)
            }
        }
        updateReading()
    }

    // MARK: Time

    func watch() {
        guard let deadline = machine.deadlineMilliseconds, deadline < watchedUntil else { return }
        watchedUntil = deadline
        front.watch(number, until: deadline)
    }

    func deadlineReached(now: Int64) {
        // One that was noted before an earlier one has nothing to say.
        guard now >= watchedUntil, context != nil else { return }
        watchedUntil = .max
        guard !isLingering else { return }
        withOutput { perform(machine.timerFired(nowMilliseconds: now, output: &$0)) }
        watch()
    }

    // MARK: Ending

    /// Ends the connection from this side.
    func end(_ error: AMQPError) {
        guard !hasEnded, context != nil else { return }
        withOutput { perform(machine.fail(error, output: &$0)) }
    }

    private func closeRequested(output: inout ByteBuffer) {
        var isInside = true
        var isDone = false
        letGo {
            if isInside {
                isDone = true
                return
            }
            guard !self.hasEnded else { return }
            self.withOutput { self.perform(self.machine.completeClose(output: &$0)) }
        }
        isInside = false
        if isDone { perform(machine.completeClose(output: &output)) }
    }

    private func failed(_ error: AMQPError) {
        front.logger.debug(
            "an AMQP connection was closed",
            metadata: ["from": "\(peer.map { "\($0)" } ?? "?")", "user": "\(user)", "why": "\(error)"]
        )
        letGo {}
        watch()
    }

    /// Lets go of everything that belongs to the connection.
    private func letGo(_ completion: @escaping () -> Void) {
        guard !isLettingGo else { return completion() }
        isLettingGo = true
        guard let host else { return completion() }
        var effects: [ModelEffect] = []
        for channel in channels.values { effects += host.letGo(channel) }
        channels = [:]
        lastChannel = nil
        confirming = []
        delivered = []
        effects += host.model.connectionEnded(number)
        // What it has published is stored before its queues go.
        host.flush()
        host.carryOut(effects) { _ in completion() }
    }

    private func close(_ end: ConnectionEnd) {
        guard !isLingering else { return }
        isLingering = true
        letGo {}
        hasEnded = true
        guard context != nil else { return }
        // Behind everything that is being written in this tick.
        let bound = NIOLoopBound(self, eventLoop: front.eventLoop)
        front.eventLoop.execute {
            let handler = bound.value
            handler.writeOutput()
            guard let context = handler.context else { return }
            if case .lost = end { return context.close(promise: nil) }
            if case .heartbeatTimeout = end { return context.close(promise: nil) }
            context.close(mode: .output, promise: nil)
            context.eventLoop.scheduleTask(in: .milliseconds(AMQPFrontOptions.lingerMilliseconds)) {
                bound.value.context?.close(promise: nil)
            }
        }
    }

    // MARK: Output

    /// The buffer of this tick: taken out while it is written to, so that it has one owner.
    @inline(__always)
    func takeOutput() -> ByteBuffer {
        guard let buffer = output.take() else { return front.takeBuffer() }
        return buffer
    }

    @inline(__always)
    func putOutput(_ buffer: ByteBuffer) {
        guard var inner = output.take() else {
            output = buffer
            return
        }
        // What was written meanwhile comes behind it.
        var whole = buffer
        whole.writeBuffer(&inner)
        front.putBuffer(inner)
        output = whole
    }

    /// Writes something outside of a read.
    func withOutput(_ body: (inout ByteBuffer) -> Void) {
        var output = takeOutput()
        body(&output)
        putOutput(output)
        writeLater()
    }

    @inline(__always)
    func writeLater() {
        guard !isWriteDue else { return }
        isWriteDue = true
        front.writeLater(self)
    }

    /// The end of the tick, and of its round.
    func writeDue() {
        isWriteDue = false
        if !confirming.isEmpty { writeConfirms() }
        writeOutput()
        returnCredit()
        // Who does not take his answers is not read either: what waits for him has a bound.
        if !isWritable, isStuck { updateReading() }
    }

    private func writeConfirms() {
        var output = takeOutput()
        for channel in confirming {
            channel.hasConfirms = false
            guard channel.isOpen else { continue }
            machine[channel: channel.number]?.writeConfirms(into: &output)
        }
        confirming.removeAll(keepingCapacity: true)
        putOutput(output)
    }

    private func writeOutput() {
        guard let buffer = output.take() else { return }
        guard buffer.readableBytes > 0, let context else {
            front.putBuffer(buffer)
            return
        }
        machine.noteWrite(nowMilliseconds: front.nowMilliseconds())
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
        front.putBuffer(buffer)
    }

    /// Bytes that the channel has not been able to send yet.
    private var unsentBytes: Int {
        guard !isWritable, let context else { return 0 }
        return (try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    }

    /// A reply that nobody acknowledges may be sent.
    var canTakeReplies: Bool { isWritable || !isStuck }

    /// More waits to be sent than one client may have.
    private var isStuck: Bool { unsentBytes >= front.options.outgoingBufferBytes }

    /// Consumers get new credit in bytes for what the client takes.
    private func returnCredit() {
        guard !delivered.isEmpty, isWritable || !isStuck else { return }
        host?.returnBytes(of: delivered)
        delivered.removeAll(keepingCapacity: true)
    }

    // MARK: Reading

    /// Reads on, or stops: for who waits for an answer and sends a lot meanwhile, who does not take what is sent to him,
    /// whose messages are not stored yet, and who publishes while storage takes nothing.
    func updateReading() {
        let isPaused =
            (isPaused && (unread?.readableBytes ?? 0) >= AMQPFrontOptions.waitingBytes)
            || unansweredMessages >= AMQPFrontOptions.unansweredMessages
            || unansweredBytes >= AMQPFrontOptions.unansweredBytes
            || (isPublisher && host?.isBlocked == true) || (!isWritable && isStuck)
        guard isPaused != isReadingPaused, let context else { return }
        isReadingPaused = isPaused
        machine.setReadingPaused(isPaused, nowMilliseconds: front.nowMilliseconds())
        try? context.channel.syncOptions?.setOption(.autoRead, value: !isPaused)
    }
}

/// What the front keeps of a channel beside the state machine.
final class ChannelState {
    let number: UInt16
    var isOpen = true
    /// Messages of it are stored, and the client is to be told at the end of this tick.
    @exclusivity(unchecked)
    var hasConfirms = false
    /// Where its last message went to.
    @exclusivity(unchecked)
    var lastAddress: PublishAddress?
    /// Its consumers and getters.
    var sources: [Source] = []
    /// Messages that wait for the end of the channel's transaction, and what they hold.
    var transaction: [HeldMessage] = []
    var transactionBytes = 0
    /// Its consumer of direct replies.
    var replies: ReplyConsumer?
    /// The credit that its consumers share; nil where there is no limit for the channel, or was none yet.
    var credit: ChannelCredit?
    /// Messages that were leased while the channel's limit was reached.
    @exclusivity(unchecked)
    var held: [HeldDelivery] = []

    init(number: UInt16) { self.number = number }
}
