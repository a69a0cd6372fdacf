package import Gateway
package import Logging
internal import MQTTProtocol
internal import MessageModel
package import NIOCore
internal import StorageService

/// What the MQTT connections of one event loop share.
package final class MQTTFront {
    let gateway: Gateway
    let options: MQTTFrontOptions
    let serverOptions: MQTTServerOptions.Shared
    let logger: Logger
    let eventLoop: any EventLoop
    /// Gathers what one connection's read brings and goes by itself; each flushes before the next has its turn.
    let gatherer = PublishGatherer()
    /// Gather what all connections of a tenant bring.
    @exclusivity(unchecked)
    private var tickAppends: [TickAppends] = []
    /// Encodes properties of inbound messages, and property sections of outbound ones.
    @exclusivity(unchecked)
    var properties = PropertyWriter()
    @exclusivity(unchecked)
    var propertySection: ByteBuffer
    @exclusivity(unchecked)
    var nameScratch: [UInt8] = []
    @exclusivity(unchecked)
    var addresses = AddressCache()
    /// Taken while it is in use.
    @exclusivity(unchecked)
    private var run = LeasedRun()
    /// The message that is being sent to several clients.
    @exclusivity(unchecked)
    var encodings = SharedEncodings()
    /// What is left to do for clients that are gone.
    private(set) lazy var housekeeper = Housekeeper(front: self)
    /// Shared subscriptions with members that are connected.
    var groups: [MQTTString: SharedGroup] = [:]
    var lastGroup: UInt64 = 0
    /// Connected clients by their identifier.
    private(set) var clients: [MQTTString: MQTTConnectionHandler] = [:]
    /// Open connections, by the slot in their number.
    private var slots: [Slot] = []
    private var freeSlots: [Int] = []
    private var deadlines = DeadlineWheel()
    private var isTicking = false
    private var nextClientNumber: UInt64 = 0
    private let clientNumberPrefix: String
    private var lastToken: UInt64 = 0
    var connectRate: ConnectRate
    @exclusivity(unchecked)
    var counters = FrontCounters()
    var system = SystemTopics()
    /// Clients with filters for values of the server's own, by their numbers.
    var systemReaders: [UInt64: MQTTConnectionHandler] = [:]
    /// As storage said last.
    var retainedCount: Int?
    var storedSessions: SystemTopics.StoredSessions?
    let startedMilliseconds: Int64
    var systemUpdatedMilliseconds: Int64
    /// What users that are not known are answered follows from it.
    let authenticationSecret = (0..<32).map { _ in UInt8.random(in: .min ... .max) }
    /// Buffers that are not in use, and what they hold together: a tick needs one for each connection that it writes to.
    @exclusivity(unchecked)
    private var spareBuffers: [ByteBuffer] = []
    @exclusivity(unchecked)
    private var spareBytes = 0
    /// Whose output is written at the end of this tick.
    private var due: [MQTTConnectionHandler] = []
    private var isWriteScheduled = false

    package init(gateway: Gateway, options: MQTTFrontOptions, eventLoop: any EventLoop, logger: Logger) {
        self.gateway = gateway
        self.options = options
        serverOptions = MQTTServerOptions.Shared(options.server)
        self.eventLoop = eventLoop
        self.logger = logger
        propertySection = ByteBufferAllocator().buffer(capacity: 256)
        startedMilliseconds = Int64(NIODeadline.now().uptimeNanoseconds / 1_000_000)
        systemUpdatedMilliseconds = startedMilliseconds
        connectRate = ConnectRate(limit: options.connectsPerSecond, nowMilliseconds: startedMilliseconds)
        clientNumberPrefix = String(UInt32.random(in: 0 ... .max), radix: 16)
        housekeeper.recoverWills()
        gateway.sessions = self
        startSystemTopics()
    }

    package var connectionCount: Int { slots.count - freeSlots.count }

    /// So many connections that there is no place even for telling a client so.
    var isBeyondLimits: Bool { connectionCount > options.maximumConnections + MQTTFrontOptions.connectionsToRefuse }

    /// Why a client that connects now is not taken, and where it may go; nil where it is taken.
    func refusal() -> (reason: ReasonCode, reference: MQTTString?)? {
        if options.redirect == .permanently { return (.serverMoved, options.serverReference) }
        if options.redirect == .temporarily { return (.useAnotherServer, options.serverReference) }
        if connectionCount > options.maximumConnections {
            return options.redirect == .whenFull
                ? (.useAnotherServer, options.serverReference) : (.quotaExceeded, nil)
        }
        guard connectRate.admits(nowMilliseconds: nowMilliseconds()) else { return (.connectionRateExceeded, nil) }
        return nil
    }

    // MARK: Connections

    private struct Slot {
        var handler: MQTTConnectionHandler?
        /// Grows each time the slot is used again.
        var generation: UInt32 = 0
    }

    /// - Returns: the connection's number: the slot, and above it the generation.
    func opened(_ handler: MQTTConnectionHandler) -> UInt64 {
        counters.sockets &+= 1
        let slot = freeSlots.popLast() ?? slots.count
        if slot == slots.count { slots.append(Slot()) }
        slots[slot].handler = handler
        return UInt64(slot) | UInt64(slots[slot].generation) << 32
    }

    private func connection(_ number: UInt64) -> MQTTConnectionHandler? {
        let slot = slots[Int(number & 0xFFFF_FFFF)]
        return UInt64(slot.generation) == number >> 32 ? slot.handler : nil
    }

    func closed(_ handler: MQTTConnectionHandler, number: UInt64) {
        let slot = Int(number & 0xFFFF_FFFF)
        slots[slot].handler = nil
        slots[slot].generation &+= 1
        freeSlots.append(slot)
        systemReaders[number] = nil
        if clients[handler.client] === handler { clients[handler.client] = nil }
    }

    /// Makes a client the one with its identifier; the one that had it is told that it was taken over
    /// (MQTT 5.0 §3.1.4).
    func register(_ handler: MQTTConnectionHandler, as id: MQTTString) {
        let earlier = clients.updateValue(handler, forKey: id)
        if let earlier, earlier !== handler { earlier.end(.sessionTakenOver) }
    }

    func makeClientIdentifier() -> MQTTString {
        nextClientNumber += 1
        return MQTTString("sluice-\(clientNumberPrefix)-\(nextClientNumber)")
    }

    /// Ends all connections: the server is shutting down.
    package func shutDown() {
        for slot in slots { slot.handler?.end(.serverShuttingDown) }
    }

    /// Tokens of requests.
    func nextToken() -> UInt64 {
        lastToken += 1
        return lastToken
    }

    // MARK: Deadlines

    /// The time that the state machines count in.
    func nowMilliseconds() -> Int64 { Int64(NIODeadline.now().uptimeNanoseconds / 1_000_000) }

    /// Sees to it that the handler's deadline is looked at when it comes.
    func watch(_ handler: MQTTConnectionHandler) {
        guard let deadline = handler.machine.nextDeadline() else { return }
        deadlines.insert(handler.number, at: deadline)
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

    // MARK: Appends

    @inline(__always)
    func appends(_ tenant: TenantID) -> TickAppends {
        if let first = tickAppends.first, first.tenant == tenant { return first }
        return findAppends(tenant)
    }

    private func findAppends(_ tenant: TenantID) -> TickAppends {
        if let place = tickAppends.firstIndex(where: { $0.tenant == tenant }) {
            // The next message is mostly of the same tenant.
            tickAppends.swapAt(0, place)
        } else {
            tickAppends.insert(TickAppends(tenant: tenant, front: self), at: 0)
        }
        return tickAppends[0]
    }

    // MARK: Output

    /// Writes a connection's output once everything is done that this tick of the event loop brings.
    func writeLater(_ handler: MQTTConnectionHandler) {
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

    func takeRun() -> LeasedRun {
        defer { run = LeasedRun() }
        return run
    }

    func putRun(_ taken: LeasedRun) { run = taken }

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
