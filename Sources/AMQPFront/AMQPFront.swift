internal import AMQPProtocol
package import Gateway
package import Logging
internal import MessageModel
package import NIOCore
internal import NIOPosix
internal import StorageService

/// What the AMQP connections of one event loop share.
package final class AMQPFront {
    let gateway: Gateway
    let options: AMQPFrontOptions
    let logger: Logger
    let eventLoop: any EventLoop
    let authenticator: Authenticator
    /// The default tenant; the only one there is.
    private(set) lazy var defaultHost = VirtualHost(front: self, tenant: .default)
    /// Open connections, by the slot in their number.
    private var slots: [Slot] = []
    private var freeSlots: [Int] = []
    private var deadlines = DeadlineWheel()
    private var isTicking = false
    /// Buffers that are not in use, and what they hold together: a tick needs one for each connection that it writes to.
    @exclusivity(unchecked)
    private var spareBuffers: [ByteBuffer] = []
    @exclusivity(unchecked)
    private var spareBytes = 0
    /// Whose output is written at the end of this tick.
    @exclusivity(unchecked)
    private var due: [AMQPConnectionHandler] = []
    @exclusivity(unchecked)
    private var isWriteScheduled = false
    private(set) var isShuttingDown = false

    package init(gateway: Gateway, options: AMQPFrontOptions, eventLoop: any EventLoop, logger: Logger) {
        self.gateway = gateway
        self.options = options
        self.eventLoop = eventLoop
        self.logger = logger
        authenticator = Authenticator(users: options.users, eventLoop: eventLoop)
    }

    /// Finds what was declared before the last stop: to be done before a port is opened.
    package func recover() -> EventLoopFuture<Void> { defaultHost.recover() }

    package var connectionCount: Int { slots.count - freeSlots.count }
    var isBeyondLimits: Bool { connectionCount > options.maximumConnections }

    /// What a client calls a virtual host; nil where there is none.
    func virtualHost(_ name: ShortString) -> VirtualHost? { name == VirtualHost.defaultName ? defaultHost : nil }

    // MARK: Connections

    private struct Slot {
        var handler: AMQPConnectionHandler?
        /// Grows each time the slot is used again.
        var generation: UInt32 = 0
    }

    /// - Returns: the connection's number: the slot, and above it the generation.
    func opened(_ handler: AMQPConnectionHandler) -> UInt64 {
        let slot = freeSlots.popLast() ?? slots.count
        if slot == slots.count { slots.append(Slot()) }
        slots[slot].handler = handler
        return UInt64(slot) | UInt64(slots[slot].generation) << 32
    }

    func connection(_ number: UInt64) -> AMQPConnectionHandler? {
        let slot = Int(number & 0xFFFF_FFFF)
        guard slot < slots.count else { return nil }
        return UInt64(slots[slot].generation) == number >> 32 ? slots[slot].handler : nil
    }

    func closed(number: UInt64) {
        let slot = Int(number & 0xFFFF_FFFF)
        slots[slot].handler = nil
        slots[slot].generation &+= 1
        freeSlots.append(slot)
    }

    /// Ends all connections: the server is shutting down.
    package func shutDown() {
        isShuttingDown = true
        for slot in slots { slot.handler?.end(.forced("broker forced connection closure with reason 'shutdown'")) }
    }

    func forEachConnection(_ body: (AMQPConnectionHandler) -> Void) {
        for slot in slots { if let handler = slot.handler { body(handler) } }
    }

    // MARK: Deadlines

    /// The time that the state machines count in.
    func nowMilliseconds() -> Int64 { Int64(NIODeadline.now().uptimeNanoseconds / 1_000_000) }

    /// Sees to it that a connection is looked at when its deadline comes.
    func watch(_ number: UInt64, until deadline: Int64) {
        deadlines.insert(number, at: deadline)
        guard !isTicking else { return }
        isTicking = true
        scheduleTick()
    }

    private func scheduleTick() {
        eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(DeadlineWheel.tickMilliseconds)) {
            // Not weakly: an object that is referred to weakly is slower to refer to for everybody.
            self.tick()
        }
    }

    private func tick() {
        let now = nowMilliseconds()
        for number in deadlines.takeDue(now) { connection(number)?.deadlineReached(now: now) }
        if deadlines.isEmpty { isTicking = false } else { scheduleTick() }
    }

    // MARK: Output

    /// Writes a connection's output once everything is done that this tick of the event loop brings.
    @inline(__always)
    func writeLater(_ handler: AMQPConnectionHandler) {
        due.append(handler)
        guard !isWriteScheduled else { return }
        isWriteScheduled = true
        eventLoop.assumeIsolated().execute { self.writeDue(canWait: true) }
    }

    private func writeDue(canWait: Bool) {
        if canWait, gateway.storage.isRoundDue {
            // It was asked for after this: it brings more to write.
            return eventLoop.assumeIsolated().execute { self.writeDue(canWait: false) }
        }
        isWriteScheduled = false
        let handlers = due
        due.removeAll(keepingCapacity: true)
        for handler in handlers { handler.writeDue() }
    }

    @inline(__always)
    func takeBuffer() -> ByteBuffer {
        guard var buffer = spareBuffers.popLast() else { return ByteBufferAllocator().buffer(capacity: 1_024) }
        spareBytes -= buffer.capacity
        buffer.clear()
        return buffer
    }

    /// Gives a buffer back once it was written; kept only where it is of ordinary size.
    func putBuffer(_ buffer: ByteBuffer) {
        let size = buffer.capacity
        guard size <= 256 << 10, spareBytes + size <= Self.keptBytes else { return }
        spareBuffers.append(buffer)
        spareBytes += size
    }

    private static let keptBytes = 4 << 20
}
