import MessageModel
import NIOCore
import NativeProtocol

/// One connection with consumers: it accepts what comes as soon as a read is over, with one frame for each consumer that
/// got something, and gives credit back when half of it is used.
final class LeaseConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private struct Consumer {
        /// Messages that were delivered and not accepted; they follow each other.
        var open: LaneRange?
        var usedMessages: UInt64 = 0
        var usedBytes: UInt64 = 0
        /// The sequence that is expected next.
        var next: UInt64 = 0
    }

    private static let creditBytes: UInt64 = 16 << 20

    private let subscriptions: [String]
    private let load: LeaseLoad
    private let ready: EventLoopPromise<Void>
    private var session = ClientSession()
    private var parser = FrameParser()
    private var context: ChannelHandlerContext?
    private var handles: [UInt32] = []
    private var consumers: [UInt32: Consumer] = [:]
    private var touched: [UInt32] = []
    private var isReady = false
    private var asked = 0
    private var settlement: (left: Int, promise: EventLoopPromise<Void>)?
    private var out = ByteBuffer()

    init(subscriptions: [String], load: LeaseLoad, _ ready: EventLoopPromise<Void>) {
        self.subscriptions = subscriptions
        self.load = load
        self.ready = ready
    }

    func start() {
        for handle in handles { grant(handle, messages: load.credit, bytes: Self.creditBytes) }
        flush()
    }

    func close() { context?.close(promise: nil) }

    /// Succeeds once everything that was accepted is durable.
    func settled() -> EventLoopFuture<Void> {
        acceptTouched()
        let promise = load.eventLoop.makePromise(of: Void.self)
        guard let handle = handles.first, isReady else {
            promise.succeed()
            return promise.futureResult
        }
        settlement = (1, promise)
        out.writeFrame(FrameHeader(.request, .acknowledge, correlation: .max, handle: handle)) { $0.writeU16(0) }
        flush()
        return promise.futureResult
    }

    private func flush() {
        guard let context, out.readableBytes > 0 else { return }
        context.writeAndFlush(wrapOutboundOut(out), promise: nil)
        out.clear()
    }

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        Preamble().write(to: &out)
        out.writeFrame(FrameHeader(.request, .hello, correlation: ClientSession.helloCorrelation)) { buffer in
            HelloRequest(clientName: "bench", clientVersion: "1", opcodes: OpcodeVersion.newer).write(to: &buffer)
        }
        flush()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        fail(BenchmarkError("the server closed the connection"))
        settlement?.promise.fail(BenchmarkError("the server closed the connection"))
        settlement = nil
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(error)
        context.close(promise: nil)
    }

    private func fail(_ error: any Error) {
        if !isReady { ready.fail(error) }
        isReady = true
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        var messages = 0
        buffer.withUnsafeReadableBytes { bytes in
            var position = 0
            while session.phase != .closed {
                switch parser.next(bytes, &position, limit: session.frameLimit) {
                case .preamble(let preamble): _ = session.receivedPreamble(preamble)
                case .frame(let bytes): messages += received(Frame.read(bytes).frame)
                case .needsMore: return
                case .invalidLength: return fail(BenchmarkError("the server sent a frame that is too long"))
                }
            }
        }
        if messages > 0 { load.took(messages) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        acceptTouched()
        flush()
    }

    private func received(_ frame: Frame) -> Int {
        switch session.received(frame) {
        case .ready: for _ in 0..<16 { subscribeNext() }
        case .response: answered(frame)
        case .push(.deliver): return delivered(frame)
        case .push(.detached), .goaway: load.faults += 1
        case .ping: out.writeFrame(FrameHeader(.pong, .ping, correlation: frame.header.correlation))
        case .push, .ignore: break
        case .fatal(let error): fail(error)
        }
        return 0
    }

    /// Asks for the next subscription: a server takes only so many requests at a time.
    private func subscribeNext() {
        guard asked < subscriptions.count else { return }
        let name = subscriptions[asked]
        asked += 1
        out.writeFrame(FrameHeader(.request, .subscribe, correlation: UInt32(asked) + 1)) { buffer in
            SubscribeRequest(
                flags: .consumer,
                creditMessages: 0,
                creditBytes: 0,
                address: "",
                subscription: name
            ).write(to: &buffer)
        }
    }

    private func answered(_ frame: Frame) {
        var reader = WireReader(frame.body)
        if let error = frame.readStatus(&reader)?.error { return fail(error) }
        if frame.header.correlation == .max {
            settlement?.promise.succeed()
            settlement = nil
            return
        }
        guard let response = SubscribeResponse(&reader) else { return fail(BenchmarkError("malformed answer")) }
        handles.append(response.handle)
        consumers[response.handle] = Consumer()
        subscribeNext()
        if handles.count == subscriptions.count, !isReady {
            isReady = true
            ready.succeed()
        }
    }

    private func delivered(_ frame: Frame) -> Int {
        let handle = frame.header.handle
        guard let head = DeliverHead(frame.body), let lease = head.lease, head.rangeCount <= 1,
            let place = consumers.index(forKey: handle)
        else {
            load.faults += 1
            return 0
        }
        let count: UInt64
        if head.rangeCount == 0 {
            count = UInt64(head.batch.recordCount)
        } else {
            let (first, last) = head.range(0)
            count = UInt64(last) - UInt64(first) + 1
        }
        let range = LaneRange(lane: lease.lane, first: lease.firstSequence, last: lease.firstSequence + count - 1)
        if lease.attempt != 1 || consumers.values[place].next > range.first { load.faults += 1 }
        consumers.values[place].next = range.last + 1
        consumers.values[place].usedMessages += count
        consumers.values[place].usedBytes += UInt64(lease.creditBytes)
        if let open = consumers.values[place].open {
            if open.lane == range.lane, open.last + 1 == range.first {
                consumers.values[place].open?.last = range.last
            } else {
                accept(open, handle)
                consumers.values[place].open = range
            }
        } else {
            consumers.values[place].open = range
            touched.append(handle)
        }
        let now = Timestamp.now.rawValue
        load.latencies.add(nanoseconds: (now - min(now, head.batch.baseTimestamp.rawValue)) * 1_000)
        return Int(count)
    }

    private func acceptTouched() {
        for handle in touched {
            guard let place = consumers.index(forKey: handle) else { continue }
            if let open = consumers.values[place].open { accept(open, handle) }
            consumers.values[place].open = nil
            let used = (consumers.values[place].usedMessages, consumers.values[place].usedBytes)
            if used.0 * 2 >= load.credit || used.1 * 2 >= Self.creditBytes {
                grant(handle, messages: used.0, bytes: used.1)
                consumers.values[place].usedMessages = 0
                consumers.values[place].usedBytes = 0
            }
        }
        touched.removeAll(keepingCapacity: true)
    }

    private func accept(_ range: LaneRange, _ handle: UInt32) {
        out.writeFrame(FrameHeader(.request, .acknowledge, flags: .oneWay, handle: handle)) { buffer in
            buffer.writeU16(1)
            range.write(to: &buffer)
        }
    }

    private func grant(_ handle: UInt32, messages: UInt64, bytes: UInt64) {
        out.writeFrame(FrameHeader(.credit, .credit, handle: handle)) {
            Credit(messages: messages, bytes: bytes).write(to: &$0)
        }
    }
}
