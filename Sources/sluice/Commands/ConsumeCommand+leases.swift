import AdminConsole
import ArgumentParser
import SluiceClient
import Synchronization

/// How `sluice consume` settles what it has printed.
struct LeaseOptions: ParsableArguments {
    enum Acknowledgement: String, ExpressibleByArgument, CaseIterable {
        /// What was printed is done.
        case auto
        /// It comes again when its lease ends.
        case none
        /// It is delivered again.
        case release
        /// It goes to the dead letters.
        case reject
    }

    @Option(
        help: """
            With --subscription: what becomes of a printed message: done, nothing (it comes again when its lease ends), \
            delivered again, or dead-lettered.
            """
    )
    var ack: Acknowledgement?

    @Option(help: ArgumentHelp("With --ack reject: the reason.", valueName: "text"))
    var reason: String?

    @Option(help: ArgumentHelp("With --ack release: not before this length of time.", valueName: "length"))
    var retryIn: DurationText?

    @Option(help: ArgumentHelp("With --subscription: messages that may be out with this consumer.", valueName: "n"))
    var prefetch: UInt64?

    var isEmpty: Bool { ack == nil && reason == nil && retryIn == nil && prefetch == nil }

    func validate() throws {
        if reason != nil, ack != .reject { throw ValidationError("--reason goes with --ack reject") }
        if retryIn != nil, ack != .release { throw ValidationError("--retry-in goes with --ack release") }
        if prefetch == 0 { throw ValidationError("--prefetch is at least 1") }
    }

    var settlement: Settlement? {
        switch ack ?? .auto {
        case .auto: .accept
        case .none: nil
        case .release: .release(after: retryIn?.duration)
        case .reject: .reject(reason: reason ?? "rejected by sluice consume")
        }
    }
}

extension ConsumeCommand {
    func consumeLeases(of subscription: String) async throws {
        let signal = try await server.withClient { client in
            // Made before a message can come: it takes a moment until signals are heard.
            let signals = StopSignals()
            let options = try await consumerOptions(client, subscription)
            let consumer = try await calling("consume \(subscription)") { () async throws(SluiceClientError) in
                try await client.consumer(subscription: subscription, options: options)
            }
            let session = LeaseSession(
                client: client,
                consumer: consumer,
                limit: count,
                follows: follow,
                settlement: leases.settlement,
                printer: MessagePrinter(style)
            )
            return try await signals.cancelling { try await session.run() }
        }
        if let signal { throw ExitCode(128 + signal) }
    }

    /// What the subscription is to be where there is none; a note where it is there and what was said does not count.
    private func consumerOptions(
        _ client: SluiceClient,
        _ subscription: String
    ) async throws(CommandFailure) -> SubscriptionConsumerOptions {
        var options = SubscriptionConsumerOptions()
        options.consumerName = consumer ?? ""
        // Of few messages that are wanted no more than those are taken from others.
        options.prefetch = leases.prefetch ?? count.map { UInt64(min($0, 1_024)) } ?? 1_024
        // Of exactly as many as are wanted, none behind them counts as delivered.
        options.replenishesPrefetch = leases.prefetch != nil || count.map { $0 > 1_024 } ?? true
        options.policy = inbox.applied(to: policy.applied(to: options.policy))
        if inbox.inbox {
            options.source = .inbox((inbox.bindings + (address.map { [$0] } ?? [])).map { .filter($0) })
        } else if let address {
            let topic = try await calling("consume \(address)") { () async throws(SluiceClientError) in
                try await client.describeTopic(holding: address)
            }
            options.source = .topic(topic.name, from: StartingPoint(from ?? (follow ? .next : .first)))
            if topic.name != address, policy.names == nil { options.policy.nameFilter = address }
        }
        let wanted = options.policy
        do throws(SluiceClientError) {
            let found = try await client.describeSubscription(subscription)
            if from != nil {
                StandardStream.error.write(
                    "note: subscription \(printable(subscription)) exists and goes on where it was; --from does not count\n"
                )
            }
            if !policy.isEmpty || inbox.maxPriority != nil || inbox.transient, found.policy != wanted {
                StandardStream.error.write(
                    "note: subscription \(printable(subscription)) exists with another policy, which counts; "
                        + "sluice subscription update changes it\n"
                )
            }
        } catch {
            guard error.code == .subscriptionNotFound else {
                throw CommandFailure(error, toDo: "consume \(subscription)")
            }
            if options.source == nil {
                throw CommandFailure(
                    .notFound,
                    "cannot consume \(subscription)",
                    why: "there is no such subscription",
                    hint: "with an address, or with --inbox and --bind, it is made"
                )
            }
        }
        return options
    }
}

/// One run of `consume` with leases.
private struct LeaseSession: Sendable {
    let client: SluiceClient
    let consumer: SubscriptionConsumer
    let limit: Int?
    let follows: Bool
    /// Nil to settle nothing.
    let settlement: Settlement?
    let printer: MessagePrinter

    func run() async throws(CommandFailure) {
        var failure: CommandFailure?
        do {
            try await read()
        } catch let error as SluiceClientError {
            failure = CommandFailure(error, toDo: "consume \(consumer.subscription)")
        } catch {
            failure = CommandFailure(.failed, "cannot consume \(consumer.subscription)", why: "\(error)")
        }
        var flushError: SluiceClientError?
        if failure == nil {
            do throws(SluiceClientError) { try await consumer.flush() } catch { flushError = error }
        }
        await consumer.close()
        if let failure { throw failure }
        if let flushError {
            throw CommandFailure(
                .failed,
                "what was printed may come again",
                why: "\(flushError.message) (\(flushError.code))"
            )
        }
    }

    private func read() async throws {
        guard !follows else { return try await printAll() }
        let progress = Progress()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await printAll { progress.advance() } }
            group.addTask { try await waitForEnd(progress) }
            // Whichever is first ends the other.
            try await group.next()
            group.cancelAll()
            try await group.waitForAll()
        }
    }

    private func printAll(_ advanced: @Sendable () -> Void = {}) async throws {
        var remaining = limit ?? .max
        var printer = printer
        while let delivery = try await consumer.next() {
            var taken: [LeasedMessage] = []
            for message in delivery {
                guard remaining > 0 else { break }
                printer.append(message.message)
                taken.append(message)
                remaining -= 1
            }
            // What nobody took is not done.
            guard printer.flush() else { return }
            if let settlement {
                do throws(SluiceClientError) {
                    if taken.count == delivery.count {
                        try delivery.settle(settlement)
                    } else {
                        for message in taken { try message.settle(settlement) }
                    }
                } catch {
                    // The connection was lost and is made again: what was printed comes again.
                    guard error.code == .leaseLost else { throw error }
                    StandardStream.error.write("note: the connection was lost; what was printed last comes again\n")
                }
            }
            advanced()
            if remaining == 0 { return }
        }
    }

    /// Waits until what was stored at the start is done, or nothing has come for a second: the rest is with others, or
    /// waits for its time.
    private func waitForEnd(_ progress: Progress) async throws {
        let ends = try await client.describeSubscription(consumer.subscription).partitions.map(\.nextOffset)
        var quiet = 0
        var last = progress.count
        while quiet < 10 {
            let now = try await client.describeSubscription(consumer.subscription)
            let isDone = zip(now.partitions, ends).allSatisfy { $0.acknowledged >= min($1, $0.nextOffset) }
            if isDone || now.isPaused { return }
            try? await Task.sleep(for: .milliseconds(100))
            if Task.isCancelled { return }
            quiet = progress.count == last ? quiet + 1 : 0
            last = progress.count
        }
    }

    private final class Progress: Sendable {
        private let state = Mutex(0)
        var count: Int { state.withLock { $0 } }
        func advance() { state.withLock { $0 += 1 } }
    }
}
