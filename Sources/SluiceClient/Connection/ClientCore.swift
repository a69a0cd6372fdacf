internal import Logging
internal import MessageModel
internal import NIOCore
internal import NIOPosix
internal import NativeProtocol

/// What lives on a client's connection and outlives it: a producer or a consumer. Called on the client's event loop.
protocol LinkParticipant: AnyObject {
    /// A connection is there: open what is needed on it.
    func linkReady(_ link: Link)
    /// The connection is gone; another may come.
    func linkLost(_ error: SluiceClientError)
    /// No connection will come.
    func gaveUp(_ error: SluiceClientError)
    func received(_ opcode: Opcode, _ frame: Frame)
    /// The server answered a batch by a response instead of an acknowledgement: it could not tell what it was.
    func receivedStrayError(_ error: SluiceClientError)
    /// All frames of a read were handed over.
    func readEnded(_ link: Link)
    func becameWritable(_ link: Link)
}

/// A client's connection and what waits for it, reconnecting as long as it may. Everything but `init` and what says so
/// belongs to `eventLoop`, which is why it can be shared.
final class ClientCore: @unchecked Sendable {
    typealias Completion = (Result<WireReader, SluiceClientError>) -> Void

    private enum Phase {
        case idle
        case connecting
        case ready(Link)
        /// Waiting for the next attempt.
        case waiting
        case closed
    }

    private struct Call {
        var opcode: Opcode
        var handle: UInt32
        var body: ByteBuffer
        /// It can be sent again on another connection without doing more than once would.
        var isRepeatable: Bool
        var completion: Completion
        var timeout: Scheduled<Void>?
    }

    let eventLoop: any EventLoop
    let configuration: ClientConfiguration
    let logger: Logger
    private var phase = Phase.idle
    private var backoff: Backoff
    private var attempts = 0
    /// When the connection was lost that is being made again.
    private var lostAt: NIODeadline?
    private var attemptError: SluiceClientError?
    private var firstConnect: [(Result<HelloResponse, SluiceClientError>) -> Void] = []
    private var calls: [UInt32: Call] = [:]
    /// Calls that wait for a connection, by their correlation.
    private var unsent: [UInt32] = []
    private var nextCorrelation: UInt32 = 1
    private var participants: [ObjectIdentifier: any LinkParticipant] = [:]
    private var byHandle: [UInt32: any LinkParticipant] = [:]
    private(set) var hello: HelloResponse?
    /// The newest version of each opcode that the server speaks.
    private var serverVersions: [UInt16: UInt16] = [:]
    /// Who is asked about open transactions, by owner.
    private var transactionOwners: [String: (UInt64) -> Void] = [:]
    /// Senders to addresses within transactions, kept for the next one.
    private var transactionSenders: [String: TransactionSender] = [:]

    init(eventLoop: any EventLoop, configuration: ClientConfiguration, logger: Logger) {
        self.eventLoop = eventLoop
        self.configuration = configuration
        self.logger = logger
        backoff = Backoff(smallest: configuration.minBackoff, largest: configuration.maxBackoff)
    }

    // MARK: - Connecting

    /// Makes the first connection: every endpoint is tried once. From any thread.
    func connect() async throws(SluiceClientError) -> HelloResponse {
        let result: Result<HelloResponse, SluiceClientError> = await withCheckedContinuation { continuation in
            eventLoop.execute {
                self.firstConnect.append { continuation.resume(returning: $0) }
                self.attempt()
            }
        }
        return try result.get()
    }

    private func attempt() {
        guard !configuration.endpoints.isEmpty else {
            return attemptFailed(SluiceClientError(.invalidArgument, "there is no endpoint to connect to"))
        }
        phase = .connecting
        attemptError = nil
        let endpoint = configuration.endpoints[attempts % configuration.endpoints.count]
        attempts += 1
        let name = configuration.name
        let timeout = TimeAmount(configuration.connectTimeout)
        ClientBootstrap(group: eventLoop)
            .connectTimeout(timeout)
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelOption(.maxMessagesPerRead, value: 16)
            .channelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(minimum: 1_024, initial: 16 << 10, maximum: 256 << 10)
            )
            .channelOption(.writeBufferWaterMark, value: .init(low: 512 << 10, high: 2 << 20))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Link(core: self, clientName: name))
                }
            }
            .connect(host: endpoint.host, port: endpoint.port)
            .whenComplete { result in
                switch result {
                case .failure(let error):
                    self.attemptFailed(
                        SluiceClientError(
                            .connectionLost,
                            "cannot connect to \(endpoint): \(Self.reason(error))",
                            hint: "is the server running, and is this its native port?"
                        )
                    )
                case .success(let channel):
                    self.eventLoop.scheduleTask(in: timeout) {
                        guard case .connecting = self.phase else { return }
                        channel.close(promise: nil)
                    }
                }
            }
    }

    private static func reason(_ error: any Error) -> String {
        if let error = error as? NIOConnectionError, let first = error.connectionErrors.first {
            return "\(first.error)"
        }
        return "\(error)"
    }

    func linkReady(_ link: Link, _ hello: HelloResponse) {
        guard case .connecting = phase else { return link.close() }
        phase = .ready(link)
        self.hello = hello
        serverVersions = [:]
        for entry in hello.opcodes { serverVersions[entry.opcode] = entry.version }
        backoff.reset()
        attempts = 0
        lostAt = nil
        let waiting = firstConnect
        firstConnect = []
        for completion in waiting { completion(.success(hello)) }
        for correlation in unsent { send(correlation, link) }
        unsent = []
        for owner in transactionOwners.keys { adopt(owner) { _ in } }
        for participant in participants.values { participant.linkReady(link) }
        link.flush()
    }

    /// The version of an opcode's body that both sides speak; 0 where the server does not know the opcode.
    func version(_ opcode: Opcode) -> UInt16 { min(opcode.version, serverVersions[opcode.rawValue] ?? 0) }

    func linkEnded(_ link: Link, _ error: SluiceClientError) {
        switch phase {
        case .connecting: attemptFailed(error)
        case .ready(let current):
            guard current === link else { return }
            lost(error)
        case .idle, .waiting, .closed: break
        }
    }

    private func attemptFailed(_ error: SluiceClientError) {
        guard case .connecting = phase else {
            if case .idle = phase { failFirstConnect(error) }
            return
        }
        if !firstConnect.isEmpty {
            guard attempts >= configuration.endpoints.count else { return attempt() }
            phase = .idle
            return failFirstConnect(error)
        }
        logger.debug("connecting failed", metadata: ["error": "\(error)"])
        attemptError = error
        retry(error)
    }

    private func failFirstConnect(_ error: SluiceClientError) {
        let waiting = firstConnect
        firstConnect = []
        for completion in waiting { completion(.failure(error)) }
    }

    private func lost(_ error: SluiceClientError) {
        logger.debug("connection lost", metadata: ["error": "\(error)"])
        phase = .waiting
        lostAt = .now()
        byHandle.removeAll()
        for (correlation, call) in calls where !unsent.contains(correlation) {
            if call.isRepeatable {
                unsent.append(correlation)
            } else {
                complete(
                    correlation,
                    .failure(
                        SluiceClientError(
                            .indeterminate,
                            "the connection was lost before \(call.opcode.name) was answered: \(error.message)"
                        )
                    )
                )
            }
        }
        unsent.sort()
        for participant in participants.values { participant.linkLost(error) }
        retry(error)
    }

    private func retry(_ error: SluiceClientError) {
        let since = lostAt ?? .now()
        lostAt = since
        guard NIODeadline.now() - since < TimeAmount(configuration.reconnectTimeout) else { return giveUp(error) }
        phase = .waiting
        eventLoop.scheduleTask(in: TimeAmount(backoff.pause())) {
            guard case .waiting = self.phase else { return }
            self.attempt()
        }
    }

    private func giveUp(_ error: SluiceClientError) {
        phase = .idle
        lostAt = nil
        backoff.reset()
        failAll(error)
    }

    private func failAll(_ error: SluiceClientError) {
        unsent = []
        for correlation in Array(calls.keys) { complete(correlation, .failure(error)) }
        let leaving = participants
        participants = [:]
        byHandle = [:]
        for participant in leaving.values { participant.gaveUp(error) }
    }

    /// Ends the connection for good; what waits fails.
    func close() {
        let link: Link? = if case .ready(let link) = phase { link } else { nil }
        phase = .closed
        failFirstConnect(.isClosed)
        failAll(.isClosed)
        link?.close()
    }

    // MARK: - Requests

    /// Sends a request as soon as there is a connection.
    /// - Parameter completion: called once, on the loop, with the reader at the answer's body.
    func perform(
        _ opcode: Opcode,
        handle: UInt32 = 0,
        isRepeatable: Bool = true,
        _ body: (inout ByteBuffer) -> Void = { _ in },
        completion: @escaping Completion
    ) {
        if case .closed = phase { return completion(.failure(.isClosed)) }
        var bytes = ByteBuffer()
        body(&bytes)
        let correlation = nextCorrelation
        nextCorrelation = nextCorrelation == .max ? 1 : nextCorrelation + 1
        var call = Call(
            opcode: opcode,
            handle: handle,
            body: bytes,
            isRepeatable: isRepeatable && handle == 0,
            completion: completion
        )
        call.timeout = eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(configuration.requestTimeout)) {
            self.timedOut(correlation)
        }
        calls[correlation] = call
        switch phase {
        case .ready(let link): send(correlation, link)
        case .idle:
            unsent.append(correlation)
            attempt()
        case .connecting, .waiting: unsent.append(correlation)
        case .closed: break
        }
    }

    private func send(_ correlation: UInt32, _ link: Link) {
        guard let call = calls[correlation] else { return }
        link.write(FrameHeader(.request, call.opcode, correlation: correlation, handle: call.handle)) { buffer in
            buffer.writeImmutableBuffer(call.body)
        }
    }

    private func timedOut(_ correlation: UInt32) {
        guard let call = calls[correlation] else { return }
        let wasSent = !unsent.contains(correlation)
        unsent.removeAll { $0 == correlation }
        let seconds = configuration.requestTimeout
        if let attemptError {
            complete(correlation, .failure(attemptError))
        } else if wasSent && !call.isRepeatable {
            complete(
                correlation,
                .failure(SluiceClientError(.indeterminate, "\(call.opcode.name) was not answered within \(seconds)"))
            )
        } else {
            complete(
                correlation,
                .failure(SluiceClientError(.timedOut, "\(call.opcode.name) was not answered within \(seconds)"))
            )
        }
    }

    private func complete(_ correlation: UInt32, _ result: Result<WireReader, SluiceClientError>) {
        guard let call = calls.removeValue(forKey: correlation) else { return }
        call.timeout?.cancel()
        call.completion(result)
    }

    func receivedResponse(_ frame: Frame) {
        var reader = WireReader(frame.body)
        let status = frame.readStatus(&reader)
        if frame.header.opcode == .produce {
            let error = status?.error ?? SluiceError(.malformed, "the server answered a batch with a response")
            byHandle[frame.header.handle]?.receivedStrayError(SluiceClientError(error))
            return
        }
        guard let (_, error) = status else {
            complete(
                frame.header.correlation,
                .failure(SluiceClientError(.protocolViolation, "the server's answer is malformed"))
            )
            return
        }
        complete(frame.header.correlation, error.map { .failure(SluiceClientError($0)) } ?? .success(reader))
    }

    func receivedPush(_ frame: Frame, _ opcode: Opcode) {
        guard opcode == .transactionCheck else {
            byHandle[frame.header.handle]?.received(opcode, frame)
            return
        }
        var reader = WireReader(frame.body)
        guard let check = TransactionCheckBody(&reader) else { return }
        transactionOwners[check.owner]?(check.transaction)
    }

    // MARK: - Transactions

    /// From now on `resolve` is asked about open transactions of this owner, also over other connections.
    func adopt(
        owner: String,
        _ resolve: @escaping (UInt64) -> Void,
        completion: @escaping (SluiceClientError?) -> Void
    ) {
        transactionOwners[owner] = resolve
        adopt(owner, completion: completion)
    }

    private func adopt(_ owner: String, completion: @escaping (SluiceClientError?) -> Void) {
        perform(.adoptTransactions, isRepeatable: false) {
            $0.writeText(owner)
        } completion: { result in
            switch result {
            case .success: completion(nil)
            case .failure(let error): completion(error)
            }
        }
        link?.flush()
    }

    func transactionSender(to address: String) -> TransactionSender {
        if let sender = transactionSenders[address] { return sender }
        let sender = TransactionSender(core: self, address: address)
        // Who sends to ever new addresses opens them again now and then.
        if transactionSenders.count >= Self.mostTransactionSenders {
            for sender in transactionSenders.values { sender.close() }
            transactionSenders = [:]
        }
        transactionSenders[address] = sender
        return sender
    }

    private static let mostTransactionSenders = 64

    func readEnded(_ link: Link) {
        guard case .ready(let current) = phase, current === link else { return }
        for participant in participants.values { participant.readEnded(link) }
    }

    func becameWritable(_ link: Link) {
        guard case .ready(let current) = phase, current === link else { return }
        for participant in participants.values { participant.becameWritable(link) }
        link.flush()
    }

    // MARK: - Participants

    var link: Link? { if case .ready(let link) = phase { link } else { nil } }

    /// From now on told of connections; at once where there is one.
    func add(_ participant: any LinkParticipant) {
        if case .closed = phase { return participant.gaveUp(.isClosed) }
        participants[ObjectIdentifier(participant)] = participant
        if let link { participant.linkReady(link) }
        if case .idle = phase { attempt() }
        link?.flush()
    }

    func remove(_ participant: any LinkParticipant) {
        participants[ObjectIdentifier(participant)] = nil
        byHandle = byHandle.filter { $0.value !== participant }
    }

    /// Pushes with this handle are the participant's, as long as this connection lasts.
    func route(_ handle: UInt32, to participant: any LinkParticipant) { byHandle[handle] = participant }

    func unroute(_ handle: UInt32) { byHandle[handle] = nil }
}

extension ClientCore {
    /// Asks and waits for the answer. From any thread.
    func call<Answer: Sendable>(
        _ opcode: Opcode,
        handle: UInt32 = 0,
        isRepeatable: Bool = true,
        _ body: @escaping @Sendable (inout ByteBuffer) -> Void = { _ in },
        decode: @escaping @Sendable (inout WireReader) -> Answer?
    ) async throws(SluiceClientError) -> Answer {
        let result: Result<Answer, SluiceClientError> = await withCheckedContinuation { continuation in
            eventLoop.execute {
                self.perform(opcode, handle: handle, isRepeatable: isRepeatable, body) { result in
                    continuation.resume(returning: result.decoded(opcode, decode))
                }
                self.link?.flush()
            }
        }
        return try result.get()
    }
}

extension Result where Success == WireReader, Failure == SluiceClientError {
    /// The answer's body in its own type.
    func decoded<Answer>(
        _ opcode: Opcode,
        _ decode: (inout WireReader) -> Answer?
    ) -> Result<Answer, SluiceClientError> {
        switch self {
        case .failure(let error): return .failure(error)
        case .success(var reader):
            guard let answer = decode(&reader) else {
                return .failure(SluiceClientError(.protocolViolation, "the answer to \(opcode.name) is malformed"))
            }
            return .success(answer)
        }
    }
}
