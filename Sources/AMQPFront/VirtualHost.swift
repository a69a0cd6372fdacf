internal import AMQPModel
internal import AMQPProtocol
internal import DequeModule
internal import Gateway
internal import Logging
internal import MessageModel
internal import NIOCore
internal import StorageService

/// One virtual host: a tenant as AMQP clients see it. It has the model of exchanges and queues, and one session with
/// storage for all connections: a queue that no connection owns outlives who declared it, messages of one tick are one
/// append for each topic, settlements one for each consumer.
final class VirtualHost: StorageSessionDelegate {
    static let defaultName: ShortString = "/"

    unowned let front: AMQPFront
    let tenant: TenantID
    @exclusivity(unchecked)
    var model: VirtualHostModel
    @exclusivity(unchecked)
    private(set) var session: GatewaySession?
    /// Requests that wait for their answers, by their tokens.
    private var requests: [UInt64: (Result<StorageReply, SluiceError>) -> Void] = [:]
    private var lastToken: UInt64 = 0
    /// Storage takes nothing: publishers are not read.
    private(set) var isBlocked = false

    /// Consumers and getters by their attachments, from 1 on.
    @exclusivity(unchecked)
    var sources: [Source?] = [nil]
    var freeAttachments: Deque<UInt32> = []
    /// Those whose settlements are handed over with this tick.
    @exclusivity(unchecked)
    var dueSources: [Source] = []
    @exclusivity(unchecked)
    private var isFlushDue = false
    /// Attachments by their queues, to tell their clients when those go.
    var attachments: [QueueNumber: Set<UInt32>] = [:]
    private var lastGroup: UInt32 = 0

    /// Gathers what all connections publish.
    let gatherer = PublishGatherer(refusesSingly: true)
    @exclusivity(unchecked)
    var waiters = PublishWaiters()
    /// Messages that are returned where nobody takes them, by the tokens of their appends.
    @exclusivity(unchecked)
    var mandatory: [UInt64: MandatoryMessages] = [:]
    @exclusivity(unchecked)
    var addresses = PublishAddresses()
    @exclusivity(unchecked)
    var properties = PublishedProperties()
    var routePlan = RoutePlan()
    @exclusivity(unchecked)
    var deliveries = DeliveryEncoding()
    private(set) lazy var letters = DeadLetterWorker(host: self)
    /// The inbox with the definitions; nil before it was found.
    var definitions: SubscriptionID?
    /// The definitions were read: what is declared from now on is new.
    var isRecovered = false
    /// Topics that were there before an exchange or a stream needed them: they stay.
    var foreignTopics: Set<String> = []

    init(front: AMQPFront, tenant: TenantID) {
        self.front = front
        self.tenant = tenant
        model = VirtualHostModel(name: Self.defaultName)
    }

    /// The session with storage, opened when it is first needed.
    @inline(__always)
    var open: GatewaySession { session ?? openSession() }

    private func openSession() -> GatewaySession {
        let opened = front.gateway.openSession(delegate: self)
        session = opened
        return opened
    }

    // MARK: Requests

    func nextToken() -> UInt64 {
        lastToken += 1
        return lastToken
    }

    /// Asks storage for something that is not on the path of messages.
    func ask(_ request: StorageRequest, _ completion: @escaping (Result<StorageReply, SluiceError>) -> Void) {
        let token = nextToken()
        requests[token] = completion
        open.storage.perform(request, token: token)
    }

    /// - Parameter completion: called with the outcome of what is done under the token.
    func expect(_ completion: @escaping (Result<StorageReply, SluiceError>) -> Void) -> UInt64 {
        let token = nextToken()
        requests[token] = completion
        return token
    }

    func requestCompleted(token: UInt64, result: Result<StorageReply, SluiceError>) {
        requests.removeValue(forKey: token)?(result)
    }

    /// A number for the credit that consumers of a channel share.
    func nextGroup() -> UInt32 {
        lastGroup &+= 1
        return lastGroup
    }

    // MARK: Ticks

    /// Hands over what this tick of the event loop gathered, at the beginning of its round.
    @inline(__always)
    func flushLater() {
        guard !isFlushDue, !gatherer.isEmpty || !dueSources.isEmpty else { return }
        isFlushDue = true
        front.gateway.storage.beforeRound { self.flush() }
    }

    func flush() {
        isFlushDue = false
        flushPublished()
        flushSettlements()
    }

    func storageRoundEnded() {
        // What was delivered to consumers without acknowledgement is settled already.
        flushLater()
    }

    // MARK: Admission

    /// Storage refused messages: publishers wait until it takes them again.
    func block() {
        guard !isBlocked else { return }
        isBlocked = true
        front.logger.warning("AMQP publishers are blocked: storage takes no messages")
        front.forEachConnection { $0.setBlocked(true) }
        lookAgain()
    }

    private func lookAgain() {
        front.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(Self.healthMilliseconds)) {
            self.ask(.health) { result in
                guard case .success(.health(let health)) = result, health.acceptsWrites else { return self.lookAgain() }
                self.isBlocked = false
                self.front.logger.notice("AMQP publishers are unblocked")
                self.front.forEachConnection { $0.setBlocked(false) }
            }
        }
    }

    private static let healthMilliseconds: Int64 = 500

    func messageRouted(_ message: LiveMessage) {}
}
