import MQTTProtocol
import NIOCore
import NIOPosix

/// How many clients there are, and how much may be on its way.
struct MQTTShape: Sendable {
    var name: String
    /// One publisher each.
    var topics: Int
    var subscribersPerTopic: Int
    /// Messages of one publisher that are not yet acknowledged and delivered to everyone, at most.
    var window: Int

    static let onePair = MQTTShape(name: "1:1", topics: 1, subscribersPerTopic: 1, window: 256)
    static let tenPairs = MQTTShape(name: "10:10", topics: 10, subscribersPerTopic: 1, window: 64)
    static let hundredPairs = MQTTShape(name: "100:100", topics: 100, subscribersPerTopic: 1, window: 16)
    static let toHundred = MQTTShape(name: "1:100", topics: 1, subscribersPerTopic: 100, window: 4)
    static let toThousand = MQTTShape(name: "1:1000", topics: 1, subscribersPerTopic: 1_000, window: 4)
}

/// A closed loop of publishers and subscribers on one event loop: a publisher sends as soon as its window has room, so
/// that a server cannot look fast by queueing or by dropping. Everything belongs to the event loop.
final class MQTTLoad {
    let shape: MQTTShape
    let qos: QoS
    let size: Int
    let isStored: Bool
    let eventLoop: any EventLoop
    private(set) var publishers: [MQTTPublisher] = []
    private var channels: [any Channel] = []
    private var touched: [MQTTPublisher] = []
    private(set) var isStopped = false
    var deliveries = 0
    var faults = 0
    var latencies = LatencyHistogram()

    init(shape: MQTTShape, qos: QoS, size: Int, isStored: Bool = false, eventLoop: any EventLoop) {
        self.shape = shape
        self.qos = qos
        self.size = size
        self.isStored = isStored
        self.eventLoop = eventLoop
    }

    /// Connects everybody, subscribers first.
    func connect(port: Int) -> EventLoopFuture<Void> {
        for index in 0..<shape.topics { publishers.append(MQTTPublisher(index: index, load: self)) }
        var subscribed: [EventLoopFuture<Void>] = []
        for publisher in publishers {
            for number in 0..<shape.subscribersPerTopic {
                let name = "sub-\(publisher.index)-\(number)"
                subscribed.append(
                    connect(port: port) { MQTTLoadClient(name: name, role: .subscriber(publisher), load: self, $0) }
                )
            }
        }
        return EventLoopFuture.andAllSucceed(subscribed, on: eventLoop).assumeIsolated().flatMap {
            let connected = self.publishers.map { publisher in
                self.connect(port: port) {
                    MQTTLoadClient(name: "pub-\(publisher.index)", role: .publisher(publisher), load: self, $0)
                }
            }
            return EventLoopFuture.andAllSucceed(connected, on: self.eventLoop)
        }.nonisolated()
    }

    private func connect(
        port: Int,
        _ client: @escaping (EventLoopPromise<Void>) -> MQTTLoadClient
    ) -> EventLoopFuture<Void> {
        let ready = eventLoop.makePromise(of: Void.self)
        let bound = NIOLoopBound((self, client), eventLoop: eventLoop)
        ClientBootstrap(group: eventLoop)
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelOption(.maxMessagesPerRead, value: 4)
            .channelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(minimum: 1_024, initial: 4_096, maximum: 256 << 10)
            )
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let (load, client) = bound.value
                    load.channels.append(channel)
                    try channel.pipeline.syncOperations.addHandler(client(ready))
                }
            }
            .connect(host: "127.0.0.1", port: port)
            .whenFailure { ready.fail($0) }
        return ready.futureResult
    }

    func start() { for publisher in publishers { publisher.fill() } }

    func beginMeasuring() {
        deliveries = 0
        latencies.reset()
    }

    func stop() { isStopped = true }

    /// Nothing is on its way any more.
    var isDrained: Bool { publishers.allSatisfy(\.isDrained) }

    func close() {
        for publisher in publishers { faults += publisher.missing }
        for channel in channels { channel.close(promise: nil) }
    }

    /// The publisher has room in its window: it sends when the present read is done.
    func touch(_ publisher: MQTTPublisher) {
        guard !publisher.isTouched else { return }
        publisher.isTouched = true
        touched.append(publisher)
    }

    func readEnded() {
        while let publisher = touched.popLast() {
            publisher.isTouched = false
            publisher.fill()
        }
    }
}

/// One publisher's messages: what was sent, acknowledged and delivered.
final class MQTTPublisher {
    let index: Int
    let topic: [UInt8]
    unowned let load: MQTTLoad
    var isTouched = false
    var client: MQTTLoadClient?
    private var payload: [UInt8]
    private var sent: UInt64 = 0
    private var acknowledged: UInt64 = 0
    /// Everything before it has reached every subscriber.
    private var delivered: UInt64 = 0
    /// How many subscribers still wait for a message, by its number modulo the window.
    private var waiting: [Int]

    init(index: Int, load: MQTTLoad) {
        self.index = index
        self.load = load
        topic = Array("bench/\(index)".utf8)
        payload = [UInt8](repeating: UInt8(ascii: "x"), count: max(20, load.size))
        waiting = [Int](repeating: 0, count: load.shape.window)
    }

    var isDrained: Bool { sent == done }
    /// Deliveries that have not come.
    var missing: Int { waiting.reduce(0, +) }

    private var done: UInt64 { load.qos == .atMostOnce ? delivered : min(delivered, acknowledged) }

    func fill() {
        guard !load.isStopped, let client else { return }
        let window = UInt64(load.shape.window)
        guard sent - done < window else { return }
        let now = MonotonicClock.nanoseconds()
        while sent - done < window {
            waiting[Int(sent % window)] = load.shape.subscribersPerTopic
            payload.withUnsafeMutableBytes { bytes in
                bytes.storeBytes(of: sent.littleEndian, as: UInt64.self)
                bytes.storeBytes(of: now.littleEndian, toByteOffset: 8, as: UInt64.self)
                bytes.storeBytes(of: UInt32(index).littleEndian, toByteOffset: 16, as: UInt32.self)
            }
            topic.withUnsafeBytes { topic in
                payload.withUnsafeBytes { payload in
                    _ = OutboundPublish(
                        version: .v3_1_1,
                        qos: load.qos,
                        packetIdentifier: load.qos == .atMostOnce ? 0 : Self.identifier(sent),
                        topicRest: topic,
                        payload: payload
                    ).encode(into: &client.out)
                }
            }
            sent += 1
        }
        client.flush()
    }

    private static func identifier(_ number: UInt64) -> UInt16 { UInt16(number % 65_535) + 1 }

    func received(acknowledgement identifier: UInt16) {
        if identifier != Self.identifier(acknowledged) { load.faults += 1 }
        acknowledged += 1
        load.touch(self)
    }

    /// One subscriber has the message with this number.
    func received(number: UInt64) {
        guard number >= delivered, number < sent else { return }
        let window = UInt64(load.shape.window)
        let place = Int(number % window)
        waiting[place] -= 1
        guard waiting[place] == 0 else { return }
        while delivered < sent, waiting[Int(delivered % window)] == 0 { delivered += 1 }
        load.touch(self)
    }
}
