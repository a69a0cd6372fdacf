internal import Gateway
internal import MQTTProtocol
internal import MessageModel
internal import StorageService

/// Messages that the connections of one tenant published in one tick of the event loop: one append for each topic and
/// kind, whatever the number of connections. What comes with an append of its own (changes of a session's state) does not
/// go this way.
final class TickAppends: StorageSessionDelegate {
    let tenant: TenantID
    private unowned let front: MQTTFront
    @exclusivity(unchecked)
    private var session: GatewaySession?
    private let gatherer = PublishGatherer()
    /// Who waits for an append, by its token, in the order of their messages.
    private var waiters: [UInt64: [Waiter]] = [:]
    /// Whose message was added last, the tickets of those that follow each other, and their append.
    @exclusivity(unchecked)
    private var lastHandler: MQTTConnectionHandler?
    @exclusivity(unchecked)
    private var lastFirst: UInt64 = 0
    @exclusivity(unchecked)
    private var lastNext: UInt64 = 0
    @exclusivity(unchecked)
    private var lastToken: UInt64 = 0
    /// Whose acknowledgements are ready.
    private var reached: [MQTTConnectionHandler] = []
    private var isFlushDue = false

    private struct Waiter {
        var handler: MQTTConnectionHandler
        var tickets: Range<UInt64>
    }

    init(tenant: TenantID, front: MQTTFront) {
        self.tenant = tenant
        self.front = front
    }

    var isEmpty: Bool { gatherer.isEmpty }

    /// Adds one message of the session with this number.
    /// - Returns: the token of its append.
    @inline(__always)
    func add(_ record: RecordFields, to partition: PartitionID, of owner: UInt64) -> UInt64 {
        gatherer.addToLast(record, to: partition, owner: owner) ?? addBehind(record, to: partition, of: owner)
    }

    private func addBehind(_ record: RecordFields, to partition: PartitionID, of owner: UInt64) -> UInt64 {
        gatherer.add(record, to: partition, session: session ?? open(), owner: owner)
    }

    private func open() -> GatewaySession {
        let opened = front.gateway.openSession(delegate: self)
        session = opened
        return opened
    }

    /// A connection waits for messages that it has added last.
    func wait(_ handler: MQTTConnectionHandler, _ tickets: Range<UInt64>, _ token: UInt64) {
        if token == lastToken, tickets.lowerBound == lastNext, lastHandler === handler {
            lastNext = tickets.upperBound
            return
        }
        closeLast()
        lastHandler = handler
        lastToken = token
        lastFirst = tickets.lowerBound
        lastNext = tickets.upperBound
    }

    private func closeLast() {
        guard let handler = lastHandler else { return }
        lastHandler = nil
        waiters[lastToken, default: []].append(Waiter(handler: handler, tickets: lastFirst..<lastNext))
    }

    /// Hands over what was added, in the round of this tick.
    func flushLater() {
        guard !isFlushDue, !isEmpty else { return }
        isFlushDue = true
        front.gateway.storage.beforeRound { self.flush() }
    }

    func flush() {
        isFlushDue = false
        closeLast()
        guard let session, !isEmpty else { return }
        gatherer.flush(session: session)
    }

    // MARK: Answers

    func appendCompleted(token: UInt64, result: AppendResult) {
        guard let waiting = waiters.removeValue(forKey: token) else { return }
        for waiter in waiting {
            waiter.handler.completed(waiter.tickets, result)
            reached.append(waiter.handler)
        }
    }

    func storageRoundEnded() {
        let handlers = reached
        reached.removeAll(keepingCapacity: true)
        for handler in handlers { handler.storageRoundEnded() }
    }

    func requestCompleted(token: UInt64, result: Result<StorageReply, SluiceError>) {}
    func batchDelivered(_ delivery: BatchDelivery) {}
    func messageRouted(_ message: RoutedMessage) {}
    func attachmentEnded(attachment: UInt32, error: SluiceError) {}
}
