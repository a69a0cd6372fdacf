import NIOCore

/// The server's side of one channel. It is a part of `AMQPConnectionStateMachine`, which shows it the frames; the owner
/// reaches it as `connection[channel:]` to answer what an action asked for and to deliver messages.
package struct AMQPChannelStateMachine: Sendable {
    enum Phase: Sendable {
        case open
        /// channel.close arrived, and the owner has not finished with it.
        case closedByClient
        /// channel.close was sent: until close-ok everything is thrown away.
        case closedByServer
    }

    /// The method that the owner has not answered.
    enum Pending: Sendable {
        /// Answered by a method without arguments; nil: by none.
        case completion(ServerMethod?)
        case queueDeclare(noWait: Bool)
        case queuePurge(noWait: Bool)
        case queueDelete(noWait: Bool)
        case consume(UInt32, noWait: Bool)
        case get(noAck: Bool)
        case commit
    }

    package let number: UInt16
    let frameMaximum: UInt32
    let maximumUnacknowledged: Int
    var phase = Phase.open
    var pending: Pending?
    /// What the pending method was, to be blamed if it fails.
    var pendingMethod: MethodID?
    var content = ContentAssembly()
    /// The queue that was declared last: what an empty queue name means.
    var lastQueue = ShortString.empty
    /// For consumers that are created from now on; zero is no limit.
    var consumerPrefetch: UInt16 = 0
    /// For all consumers together; zero is no limit.
    var channelPrefetch: UInt16 = 0
    /// Deliveries to consumers that wait for their acknowledgement.
    var consumerUnacknowledged = 0
    var nextDeliveryTag: UInt64 = 1
    var unacknowledged = UnacknowledgedDeliveries()
    var consumers = ConsumerTable()
    var replyConsumer = ConsumerTable.none
    var confirms: PublisherConfirms?
    var transaction: Transaction?

    /// What was settled on a transactional channel and not committed; the messages are with the owner.
    struct Transaction: Sendable {
        var settled: [SettledDelivery] = []
    }

    init(number: UInt16, frameMaximum: UInt32, limits: AMQPLimits) {
        self.number = number
        self.frameMaximum = frameMaximum
        self.maximumUnacknowledged = limits.maximumUnacknowledged
    }

    package var isOpen: Bool { phase == .open }
    /// The owner has to answer first.
    package var isBusy: Bool { pending != nil || phase == .closedByClient }
    package var isConfirming: Bool { confirms != nil }
    package var isTransactional: Bool { transaction != nil }
    /// Deliveries that wait for their acknowledgement.
    package var unacknowledgedCount: Int { unacknowledged.count }
    /// Messages that were published and not confirmed: the owner stops reading when they become too many.
    package var unconfirmedCount: Int { confirms?.count ?? 0 }
    package var consumerCount: Int { consumers.activeCount }
    package var globalPrefetchCount: UInt16 { channelPrefetch }

    /// The tag of a consumer; nil when it is gone.
    package func tag(ofConsumer consumer: UInt32) -> ShortString? { consumers[consumer]?.tag }

    /// Takes one method other than basic.publish, which comes with its content.
    mutating func received(
        _ method: ClientMethod,
        _ id: MethodID,
        _ environment: inout ChannelEnvironment,
        _ output: inout ByteBuffer
    ) throws(AMQPError) -> ChannelAction {
        switch method {
        case .basicSettle(let settle): return try self.settle(settle, id, &environment.settled)
        case .basicQos(let qos): return try receivedQos(qos, &output)
        case .basicConsume(let consume): return try receivedConsume(consume, &environment)
        case .basicCancel(let cancel): return receivedCancel(cancel, &output)
        case .basicCancelOk: return .none
        case .basicGet(var get):
            get.queue = try meant(get.queue, id)
            return handOver(.get(noAck: get.noAck), id, .get(get))
        case .basicRecover(let requeue):
            try requireRequeue(requeue, id)
            takeAll(&environment.settled)
            return handOver(.completion(.basicRecoverOk), id, .recover)
        case .basicRecoverAsync(let requeue):
            try requireRequeue(requeue, id)
            takeAll(&environment.settled)
            return environment.settled.isEmpty ? .none : .settle
        case .exchangeDeclare, .exchangeDelete, .exchangeBind, .exchangeUnbind, .queueDeclare, .queueBind,
            .queueUnbind, .queuePurge, .queueDelete:
            return try receivedDeclaration(method, id, &environment)
        case .confirmSelect(let noWait):
            guard transaction == nil else {
                throw AMQPError(.preconditionFailed, "cannot switch from tx to confirm mode", method: id)
            }
            if confirms == nil { confirms = PublisherConfirms() }
            if !noWait { write(.confirmSelectOk, &output) }
            return .none
        case .txSelect, .txCommit, .txRollback:
            return try receivedTransaction(method, id, &environment, &output)
        case .channelFlow(let isActive):
            guard isActive else { throw AMQPError(.notImplemented, "active=false", method: id) }
            write(.channelFlowOk(isActive: true), &output)
            return .none
        case .channelFlowOk: return .none
        case .accessRequest:
            write(.accessRequestOk, &output)
            return .none
        case .channelClose(let close):
            phase = .closedByClient
            takeEverything(&environment.settled)
            return .close(close)
        case .channelOpen: throw AMQPError(.channelError, "second 'channel.open' seen", method: id)
        case .basicPublish, .channelCloseOk, .connectionStartOk, .connectionSecureOk, .connectionTuneOk,
            .connectionOpen, .connectionClose, .connectionCloseOk, .connectionUpdateSecret:
            throw AMQPError(.commandInvalid, "unimplemented method", method: id)
        }
    }

    func write(_ method: ServerMethod, _ output: inout ByteBuffer) {
        method.encode(channel: number, into: &output)
    }

    /// Gives a method to the owner; nothing is taken from this channel until it is answered.
    mutating func handOver(_ pending: Pending, _ id: MethodID, _ action: ChannelAction) -> ChannelAction {
        self.pending = pending
        pendingMethod = id
        return action
    }

    /// The queue that a method means that names none: the one that was declared last.
    func meant(_ queue: ShortString, _ id: MethodID) throws(AMQPError) -> ShortString {
        guard queue.isEmpty else { return queue }
        guard !lastQueue.isEmpty else { throw AMQPError(.notFound, "no previously declared queue", method: id) }
        return lastQueue
    }

    private func requireRequeue(_ requeue: Bool, _ id: MethodID) throws(AMQPError) {
        guard requeue else { throw AMQPError(.notImplemented, "requeue=false", method: id) }
    }
}
