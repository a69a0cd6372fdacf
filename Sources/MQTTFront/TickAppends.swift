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
    private var session: GatewaySession?
    private let gatherer = PublishGatherer()
    /// Who waits for an append, by its token, in the order of their messages.
    private var waiters: [UInt64: [Waiter]] = [:]
    /// The one whose message was added last, and the token of that.
    @exclusivity(unchecked)
    private var last: Waiter?
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

    /// Adds one message of a session.
    /// - Returns: the token of its append.
    func add(_ record: RecordFields, to partition: PartitionID, of session: GatewaySession) -> UInt64 {
        let own = self.session ?? open()
        return gatherer.add(record, to: partition, session: own, owner: session.storage.number)
    }

    private func open() -> GatewaySession {
        let opened = front.gateway.openSession(delegate: self)
        session = opened
        return opened
    }

    /// A connection waits for the message that it has added last.
    @inline(__always)
    func wait(_ handler: MQTTConnectionHandler, _ ticket: UInt64, _ token: UInt64) {
        if token == lastToken, let waiter = last, waiter.handler === handler, waiter.tickets.upperBound == ticket {
            last = Waiter(handler: handler, tickets: waiter.tickets.lowerBound..<ticket + 1)
            return
        }
        closeLast()
        lastToken = token
        last = Waiter(handler: handler, tickets: ticket..<ticket + 1)
    }

    private func closeLast() {
        guard let closed = last else { return }
        last = nil
        waiters[lastToken, default: []].append(closed)
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
