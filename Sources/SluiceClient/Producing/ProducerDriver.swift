internal import MessageModel
internal import NIOCore
internal import NativeProtocol

/// A producer's half on the event loop: opens it on each connection, sends what the accumulator gathered, and takes the
/// acknowledgements. Everything but `init` belongs to the event loop.
final class ProducerDriver: LinkParticipant, @unchecked Sendable {
    private let core: ClientCore
    private let address: String
    private let options: ProducerOptions
    private var state: ProducerState
    private(set) var accumulator: Accumulator?
    private var handle: UInt32?
    private var opening = false
    private var firstOpen: ((Result<(OpenProducerResponse, Accumulator), SluiceClientError>) -> Void)?
    private var outcomes: [ProducerState.Outcome] = []
    private var isLingering = false
    /// What is open has lingered long enough, and waits only for room.
    private var isDue = false
    private var expiryTask: Scheduled<Void>?
    private var retryBackoff: Backoff
    /// It ends as soon as nothing waits any more.
    private var isClosing = false

    init(core: ClientCore, address: String, options: ProducerOptions) {
        self.core = core
        self.address = address
        self.options = options
        state = ProducerState(maxInFlight: options.maxInFlight)
        retryBackoff = Backoff(smallest: .milliseconds(20), largest: .seconds(2))
    }

    /// Opens the producer for the first time.
    func start(_ completion: @escaping (Result<(OpenProducerResponse, Accumulator), SluiceClientError>) -> Void) {
        firstOpen = completion
        core.add(self)
        core.link?.flush()
    }

    // MARK: - Opening

    func linkReady(_ link: Link) { open(fresh: false) }

    private func open(fresh: Bool) {
        guard !opening, state.mode != .failed else { return }
        opening = true
        let resume = fresh ? 0 : state.producer
        core.perform(.openProducer, isRepeatable: false) { buffer in
            OpenProducerRequest(resume: resume, address: address).write(to: &buffer)
        } completion: { result in
            self.opening = false
            switch result.decoded(.openProducer, { OpenProducerResponse(&$0) }) {
            case .success(let response): self.opened(response)
            case .failure(let error): self.openFailed(error)
            }
        }
        core.link?.flush()
    }

    private func opened(_ response: OpenProducerResponse) {
        if let handle { core.unroute(handle) }
        handle = response.handle
        core.route(response.handle, to: self)
        let failed = state.opened(handle: response.handle, producer: response.producer, epoch: response.epoch)
        if let firstOpen {
            self.firstOpen = nil
            var options = options
            if let limits = core.hello?.limits {
                options.maxBatchBytes = min(options.maxBatchBytes, Int(limits.maxBatchBytes))
                options.maxBatchRecords = min(options.maxBatchRecords, Int(limits.maxBatchRecords))
            }
            let accumulator = Accumulator(partitions: Int(response.partitions), options: options)
            self.accumulator = accumulator
            scheduleExpiry()
            firstOpen(.success((response, accumulator)))
        }
        accumulator?.completed(failed)
        pump()
        closeIfDone()
    }

    private func openFailed(_ error: SluiceClientError) {
        guard state.mode != .failed else { return }
        // The connection was lost meanwhile: the next one opens it.
        if core.link == nil, error.class != .refused { return }
        if let firstOpen {
            self.firstOpen = nil
            _ = state.fail(error)
            core.remove(self)
            return firstOpen(.failure(error))
        }
        guard let link = core.link else { return }
        guard error.class != .refused else { return fail(error) }
        core.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(retryBackoff.pause())) {
            guard self.core.link === link else { return }
            self.open(fresh: false)
        }
    }

    func linkLost(_ error: SluiceClientError) {
        handle = nil
        opening = false
        state.linkLost()
    }

    func gaveUp(_ error: SluiceClientError) {
        if let firstOpen {
            self.firstOpen = nil
            firstOpen(.failure(error))
        }
        fail(error)
    }

    // MARK: - Sending

    /// The accumulator has something.
    func wake(_ wake: Accumulator.Wake) {
        switch wake {
        case .none: break
        case .now: pump()
        case .linger:
            guard !isLingering else { return }
            isLingering = true
            core.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(options.linger)) {
                self.isLingering = false
                self.isDue = true
                self.pump()
            }
        }
    }

    private func pump() {
        guard let accumulator, let link = core.link, state.mode == .running, link.isWritable else { return }
        let sealsOpen = options.linger == .zero || isDue || isClosing
        let (sealed, hasOpen) = accumulator.take { sealsOpen && state.hasRoom(partition: $0) }
        isDue = isDue && hasOpen
        for batch in sealed { state.enqueue(batch) }
        let before = state.inFlight
        state.takeSendable { link.write($0.frame) }
        if state.inFlight != before { link.flush() }
    }

    func becameWritable(_ link: Link) { pump() }

    // MARK: - Acknowledgements

    func received(_ opcode: Opcode, _ frame: Frame) {
        guard opcode == .produceAck else { return }
        var reader = WireReader(frame.body)
        guard let ack = ProduceAck(&reader, version: core.version(.produceAck)) else {
            return receivedStrayError(SluiceClientError(.protocolViolation, "an acknowledgement is malformed"))
        }
        guard !ack.status.isOK else {
            for run in ack.runs { outcomes += state.acknowledged(partition: Int(ack.partition), run: run) }
            return
        }
        let error = ack.refusal(frame) ?? SluiceError(.internal, ErrorCode.internal.rendering.title)
        for run in ack.runs {
            state.refused(
                partition: Int(ack.partition),
                firstSequence: run.firstSequence,
                error: SluiceClientError(error),
                retryAfterMs: ack.status.retryAfterMs
            )
        }
    }

    /// What the server could not attribute cannot be attributed here either.
    func receivedStrayError(_ error: SluiceClientError) { fail(error) }

    func readEnded(_ link: Link) {
        let hadOutcomes = !outcomes.isEmpty
        if hadOutcomes {
            retryBackoff.reset()
            finishOutcomes()
        }
        let (settlement, failed) = state.settle()
        accumulator?.completed(failed)
        switch settlement {
        case .none: if hadOutcomes { pump() }
        case .retry(let afterMs):
            let pause = max(TimeAmount.milliseconds(Int64(afterMs)), TimeAmount(retryBackoff.pause()))
            core.eventLoop.assumeIsolated().scheduleTask(in: pause) {
                self.state.resume()
                self.pump()
            }
        case .reopen:
            if let handle {
                core.perform(.closeProducer, handle: handle) { _ in
                } completion: { _ in
                }
            }
            open(fresh: true)
        case .failed(let error): fail(error)
        }
        closeIfDone()
    }

    private func finishOutcomes() {
        let done = outcomes
        outcomes.removeAll(keepingCapacity: true)
        accumulator?.completed(done)
    }

    // MARK: - The end

    private func scheduleExpiry() {
        expiryTask = core.eventLoop.assumeIsolated().scheduleTask(in: .seconds(1)) { [weak self] in
            guard let self else { return }
            if self.state.hasExpired(now: .now()) {
                let message = "it was not stored within \(self.options.deliveryTimeout)"
                self.fail(SluiceClientError(.timedOut, message))
            } else if self.state.mode != .failed {
                self.scheduleExpiry()
            }
        }
    }

    private func fail(_ error: SluiceClientError) {
        expiryTask?.cancel()
        core.remove(self)
        finishOutcomes()
        guard let accumulator else { return }
        for batch in accumulator.end(error) { state.enqueue(batch) }
        accumulator.completed(state.fail(error))
    }

    /// Ends the producer once what it took is stored.
    func close() {
        isClosing = true
        pump()
        closeIfDone()
    }

    private func closeIfDone() {
        guard isClosing, state.isEmpty, state.mode != .failed, let handle, accumulator?.isIdle ?? true else { return }
        core.perform(.closeProducer, handle: handle) { _ in
        } completion: { _ in
        }
        core.link?.flush()
        fail(.isClosed)
    }
}
