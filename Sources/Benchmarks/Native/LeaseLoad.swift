import NIOCore
import NIOPosix

/// Consumers of subscriptions that accept everything they get at once, over a few connections on one event loop: as
/// little work for each delivery as goes, so that the server is what is measured.
///
/// Everything belongs to the event loop, unless it says otherwise.
final class LeaseLoad {
    let eventLoop: any EventLoop
    /// Messages that consumers may have and not have settled, each.
    let credit: UInt64
    private var connections: [LeaseConnection] = []
    private(set) var received = 0
    /// Messages that came again, or not in the order of their sequences.
    var faults = 0
    /// From when a message was made until it came, in a batch that of the first.
    var latencies = LatencyHistogram()
    private var waiting: (count: Int, promise: EventLoopPromise<Void>)?

    init(eventLoop: any EventLoop, credit: UInt64) {
        self.eventLoop = eventLoop
        self.credit = credit
    }

    /// Attaches a consumer to each subscription, as many on each connection as is said.
    func attach(_ subscriptions: [String], each: Int, port: Int) -> EventLoopFuture<Void> {
        var ready: [EventLoopFuture<Void>] = []
        for start in stride(from: 0, to: subscriptions.count, by: each) {
            let names = Array(subscriptions[start..<min(start + each, subscriptions.count)])
            let promise = eventLoop.makePromise(of: Void.self)
            let connection = LeaseConnection(subscriptions: names, load: self, promise)
            connections.append(connection)
            let bound = NIOLoopBound(connection, eventLoop: eventLoop)
            ClientBootstrap(group: eventLoop)
                .channelOption(.socketOption(.tcp_nodelay), value: 1)
                .channelOption(.maxMessagesPerRead, value: 4)
                .channelOption(
                    .recvAllocator,
                    value: AdaptiveRecvByteBufferAllocator(minimum: 1_024, initial: 64 << 10, maximum: 1 << 20)
                )
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(bound.value)
                    }
                }
                .connect(host: "127.0.0.1", port: port)
                .whenFailure { promise.fail($0) }
            ready.append(promise.futureResult)
        }
        return EventLoopFuture.andAllSucceed(ready, on: eventLoop)
    }

    /// Gives credit to those that were attached without.
    func start() { for connection in connections { connection.start() } }

    func close() { for connection in connections { connection.close() } }

    func beginMeasuring() { latencies.reset() }

    /// Succeeds once so many messages have come altogether.
    func wait(until count: Int) -> EventLoopFuture<Void> {
        let promise = eventLoop.makePromise(of: Void.self)
        if received >= count { promise.succeed() } else { waiting = (count, promise) }
        return promise.futureResult
    }

    /// Asks each connection whether everything that it said is durable.
    func settled() -> EventLoopFuture<Void> {
        EventLoopFuture.andAllSucceed(connections.map { $0.settled() }, on: eventLoop)
    }

    func took(_ messages: Int) {
        received += messages
        if let waiting, received >= waiting.count {
            self.waiting = nil
            waiting.promise.succeed()
        }
    }
}

/// A `LeaseLoad` for tasks outside of its event loop.
final class LeaseLoadHandle: Sendable {
    private let eventLoop: any EventLoop
    private let load: NIOLoopBound<LeaseLoad>

    init(credit: UInt64) async throws {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        self.eventLoop = eventLoop
        load = try await eventLoop.submit {
            NIOLoopBound(LeaseLoad(eventLoop: eventLoop, credit: credit), eventLoop: eventLoop)
        }.get()
    }

    func attach(_ subscriptions: [String], each: Int, port: Int, starts: Bool = true) async throws {
        try await eventLoop.flatSubmit { [load] in load.value.attach(subscriptions, each: each, port: port) }.get()
        if starts { try await start() }
    }

    func start() async throws { try await eventLoop.submit { [load] in load.value.start() }.get() }
    func wait(until count: Int) async throws {
        try await eventLoop.flatSubmit { [load] in load.value.wait(until: count) }.get()
    }
    func settled() async throws { try await eventLoop.flatSubmit { [load] in load.value.settled() }.get() }
    func beginMeasuring() async throws { try await eventLoop.submit { [load] in load.value.beginMeasuring() }.get() }
    func close() async throws { try await eventLoop.submit { [load] in load.value.close() }.get() }

    func result() async throws -> (received: Int, faults: Int, latencies: LatencyHistogram) {
        try await eventLoop.submit { [load] in
            (load.value.received, load.value.faults, load.value.latencies)
        }.get()
    }
}
