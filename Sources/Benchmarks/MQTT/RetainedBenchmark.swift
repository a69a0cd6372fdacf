import MQTTProtocol
import NIOCore
import NIOPosix

/// Last values: how fast they are stored, and what it means to others when somebody subscribes to very many.
struct RetainedBenchmark {
    var options: ServerOptions
    var size: Int

    /// Retained messages with QoS 1 to so many names, each acknowledged when it is durable.
    func store(_ names: Int) async throws -> String {
        var rates: [Double] = []
        var costs: [Double] = []
        for run in 1...options.runs {
            progress("MQTT retained: run \(run)")
            let server = try ChildServer.sluice(options)
            defer { server.stop() }
            let interval = try await fill(server, names)
            rates.append(Double(names) / interval.seconds)
            costs.append(interval.serverSeconds * 1e6 / Double(names))
        }
        let rate = rates.sorted()[rates.count / 2]
        let cost = costs.sorted()[costs.count / 2]
        return
            "retained messages stored durably, \(names) names: \(Int(rate)) a second, \(Report.number(cost)) µs of CPU "
            + "each, target ≥ 100000: \(rate >= 100_000 ? "met" : "MISSED")"
    }

    /// How long the messages of a pair take, one after the other, without and with somebody who reads all last values.
    func readAll(_ names: Int) async throws -> [String] {
        progress("MQTT, # over \(names) retained messages")
        let server = try ChildServer.sluice(options)
        defer { server.stop() }
        let filled = try await fill(server, names)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let loop = group.next()
        let size = size
        let load = try await loop.submit {
            let shape = MQTTShape(name: "probe", topics: 1, subscribersPerTopic: 1, window: 1)
            return NIOLoopBound(MQTTLoad(shape: shape, qos: .atMostOnce, size: size, eventLoop: loop), eventLoop: loop)
        }.get()
        let port = server.mqttPort
        try await loop.flatSubmit { load.value.connect(port: port) }.get()
        loop.execute { load.value.start() }
        try await Task.sleep(for: .seconds(options.warmUp))
        loop.execute { load.value.beginMeasuring() }
        try await Task.sleep(for: .seconds(options.duration))
        let alone = try await loop.submit { load.value.latencies }.get()
        loop.execute { load.value.beginMeasuring() }
        let start = server.probe.read()
        let other = group.next()
        let finished = other.makePromise(of: Void.self)
        try await connect(port, other) { RetainedReader(names: names, finished) }
        try await finished.futureResult.get()
        let interval = ProcessProbe.Interval(from: start, to: server.probe.read())
        let meanwhile = try await loop.submit {
            load.value.stop()
            return load.value.latencies
        }.get()
        let resident = server.probe.residentKiB / 1_024
        try await group.shutdownGracefully()
        return [
            "# over \(names) retained messages (stored in \(Report.number(filled.seconds)) s): read in "
                + "\(Report.number(interval.seconds)) s, \(resident) MiB resident",
            "messages of others, one after the other, alone: \(text(alone)); meanwhile: \(text(meanwhile))",
        ]
    }

    private func text(_ latencies: LatencyHistogram) -> String {
        let values = [0.5, 0.99, 0.999, 1].map { Report.number(latencies.percentile($0)) }
        return "p50 \(values[0]), p99 \(values[1]), p99.9 \(values[2]), most \(values[3]) µs"
    }

    private func fill(_ server: ChildServer, _ names: Int) async throws -> ProcessProbe.Interval {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let finished = loop.makePromise(of: Void.self)
        let size = size
        let start = server.probe.read()
        try await connect(server.mqttPort, loop) { RetainedPublisher(names: names, size: size, finished) }
        try await finished.futureResult.get()
        let interval = ProcessProbe.Interval(from: start, to: server.probe.read())
        try await group.shutdownGracefully()
        return interval
    }

    private func connect(
        _ port: Int,
        _ loop: any EventLoop,
        _ handler: @escaping @Sendable () -> some ChannelInboundHandler
    ) async throws {
        _ = try await ClientBootstrap(group: loop)
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(minimum: 1_024, initial: 4_096, maximum: 256 << 10)
            )
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(handler()) }
            }
            .connect(host: "127.0.0.1", port: port)
            .get()
    }
}

/// Cuts packets out of what comes.
private struct PacketStream {
    private let framer = PacketFramer(maximumPacketSize: 16 << 20, version: .v3_1_1)
    private var rest = ByteBuffer()

    mutating func take(_ bytes: ByteBuffer, _ body: (PacketHeader, UnsafeRawBufferPointer) -> Void) {
        var bytes = bytes
        rest.writeBuffer(&bytes)
        let consumed = rest.withUnsafeReadableBytes { all in
            var position = 0
            while case .packet(let header) = framer.next(UnsafeRawBufferPointer(rebasing: all[position...])) {
                body(header, UnsafeRawBufferPointer(rebasing: all[position..<position + header.totalLength]))
                position += header.totalLength
            }
            return position
        }
        rest.moveReaderIndex(forwardBy: consumed)
        rest.discardReadBytes()
    }
}

/// Publishes one retained message with QoS 1 to each name, a thousand at a time.
private final class RetainedPublisher: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let names: Int
    private let payload: [UInt8]
    private let finished: EventLoopPromise<Void>
    private var packets = PacketStream()
    private var sent = 0
    private var acknowledged = 0

    private static let window = 1_000

    init(names: Int, size: Int, _ finished: EventLoopPromise<Void>) {
        self.names = names
        self.finished = finished
        payload = [UInt8](repeating: UInt8(ascii: "x"), count: size)
    }

    func channelActive(context: ChannelHandlerContext) {
        var out = ByteBuffer()
        ConnectPacket(version: .v3_1_1, clientIdentifier: "retained-publisher").encode(into: &out)
        context.writeAndFlush(wrapOutboundOut(out), promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        finished.fail(BenchmarkError("the server closed the publisher's connection"))
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        packets.take(unwrapInboundIn(data)) { header, _ in
            if header.type == .puback { acknowledged += 1 }
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if acknowledged == names { return finished.succeed() }
        var out = ByteBuffer()
        while sent < names, sent - acknowledged < Self.window {
            Array("retained/\(sent / 1_000)/\(sent % 1_000)".utf8).withUnsafeBytes { topic in
                payload.withUnsafeBytes { payload in
                    _ = OutboundPublish(
                        version: .v3_1_1,
                        qos: .atLeastOnce,
                        isRetained: true,
                        packetIdentifier: UInt16(sent % 65_535) + 1,
                        topicRest: topic,
                        payload: payload
                    ).encode(into: &out)
                }
            }
            sent += 1
        }
        if out.readableBytes > 0 { context.writeAndFlush(wrapOutboundOut(out), promise: nil) }
    }
}

/// Subscribes to everything and counts last values.
private final class RetainedReader: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let names: Int
    private let finished: EventLoopPromise<Void>
    private var packets = PacketStream()
    private var received = 0

    init(names: Int, _ finished: EventLoopPromise<Void>) {
        self.names = names
        self.finished = finished
    }

    func channelActive(context: ChannelHandlerContext) {
        var out = ByteBuffer()
        ConnectPacket(version: .v3_1_1, clientIdentifier: "retained-reader").encode(into: &out)
        // Everything: two bytes, then the filter and QoS 0.
        out.writeBytes([0x82, 6, 0, 1, 0, 1, UInt8(ascii: "#"), 0])
        context.writeAndFlush(wrapOutboundOut(out), promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        finished.fail(BenchmarkError("the server closed the reader's connection"))
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        packets.take(unwrapInboundIn(data)) { header, _ in
            if header.type == .publish, header.flags & 1 != 0 { received += 1 }
        }
        if received == names { finished.succeed() }
    }
}
