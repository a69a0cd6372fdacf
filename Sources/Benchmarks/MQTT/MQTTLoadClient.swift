import MQTTProtocol
import NIOCore

/// One connection of the load: connects, subscribes if it is a subscriber, and counts what comes.
final class MQTTLoadClient: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Role {
        case publisher(MQTTPublisher)
        case subscriber(MQTTPublisher)
        /// Does nothing once it is connected and subscribed.
        case idle(topic: String)
    }

    private let name: String
    private let role: Role
    private let load: MQTTLoad?
    private let ready: EventLoopPromise<Void>
    private let framer = PacketFramer(maximumPacketSize: 16 << 20, version: .v3_1_1)
    private let decoding = DecodingContext(version: .v3_1_1, sender: .server, limits: MQTTLimits())
    private var context: ChannelHandlerContext?
    private var rest = ByteBuffer()
    /// The number of the next message that is expected.
    private var expected: UInt64 = 0
    private var isReady = false
    var out = ByteBuffer()

    init(name: String, role: Role, load: MQTTLoad?, _ ready: EventLoopPromise<Void>) {
        self.name = name
        self.role = role
        self.load = load
        self.ready = ready
    }

    func flush() {
        guard let context, out.readableBytes > 0 else { return }
        context.writeAndFlush(wrapOutboundOut(out), promise: nil)
        out.clear()
    }

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        var connect = ConnectPacket(version: .v3_1_1, clientIdentifier: MQTTString(name))
        connect.cleanStart = load?.isStored != true
        _ = connect.encode(into: &out)
        flush()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        if isReady { return }
        ready.fail(BenchmarkError("the server closed the connection of \(name)"))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if !isReady { ready.fail(error) }
        isReady = true
        context.close(promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        if rest.readableBytes > 0 {
            rest.writeBuffer(&bytes)
            bytes = rest
            rest = ByteBuffer()
        }
        let now = MonotonicClock.nanoseconds()
        let consumed = bytes.withUnsafeReadableBytes { take($0, now) }
        bytes.moveReaderIndex(forwardBy: consumed)
        if bytes.readableBytes > 0 { rest = bytes }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        flush()
        load?.readEnded()
    }

    private func take(_ bytes: UnsafeRawBufferPointer, _ now: UInt64) -> Int {
        var position = 0
        while true {
            let left = UnsafeRawBufferPointer(rebasing: bytes[position...])
            guard case .packet(let header) = framer.next(left) else { return position }
            position += header.totalLength
            do {
                if header.type == .publish {
                    try published(header, left, now)
                } else {
                    try received(ControlPacket.decode(header, left, context: decoding))
                }
            } catch {
                load?.faults += 1
            }
        }
    }

    private func published(_ header: PacketHeader, _ bytes: UnsafeRawBufferPointer, _ now: UInt64) throws {
        guard let load, case .subscriber(let publisher) = role else { return }
        let packet = try PublishView.decode(header, bytes, context: decoding)
        let payload = UnsafeRawBufferPointer(rebasing: bytes[packet.payloadRange])
        switch packet.qos {
        case .atMostOnce: break
        case .atLeastOnce: answer(.puback, packet.packetIdentifier)
        case .exactlyOnce: answer(.pubrec, packet.packetIdentifier)
        }
        guard payload.count >= 20 else {
            load.faults += 1
            return
        }
        let number = UInt64(littleEndian: payload.loadUnaligned(as: UInt64.self))
        let stamp = UInt64(littleEndian: payload.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        let index = UInt32(littleEndian: payload.loadUnaligned(fromByteOffset: 16, as: UInt32.self))
        if number != expected || index != UInt32(publisher.index) || payload.count != max(20, load.size) {
            load.faults += 1
        }
        expected = number + 1
        load.deliveries += 1
        load.latencies.add(nanoseconds: now - min(now, stamp))
        publisher.received(number: number)
    }

    private func received(_ packet: ControlPacket) throws {
        switch (packet, role) {
        case (.connack(let connack), .publisher(let publisher)):
            guard connack.reason == .success else { throw BenchmarkError("refused: \(connack.reason)") }
            publisher.client = self
            becomeReady()
        case (.connack(let connack), .subscriber(let publisher)):
            guard connack.reason == .success else { throw BenchmarkError("refused: \(connack.reason)") }
            try subscribe(publisher.topic)
        case (.connack, .idle(let topic)):
            try subscribe(Array(topic.utf8))
        case (.suback, _):
            becomeReady()
        case (.acknowledgement(let acknowledgement), _):
            switch (acknowledgement.type, role) {
            case (.puback, .publisher(let publisher)), (.pubcomp, .publisher(let publisher)):
                publisher.received(acknowledgement: acknowledgement.packetIdentifier)
            case (.pubrec, _): answer(.pubrel, acknowledgement.packetIdentifier)
            case (.pubrel, _): answer(.pubcomp, acknowledgement.packetIdentifier)
            default: break
            }
        default: break
        }
    }

    private func answer(_ type: PacketType, _ identifier: UInt16) {
        AcknowledgementPacket(type: type, packetIdentifier: identifier).encode(into: &out, version: .v3_1_1)
    }

    private func subscribe(_ topic: [UInt8]) throws {
        let filter = try topic.withUnsafeBytes { try TopicFilter($0, limits: MQTTLimits()) }
        SubscribePacket(
            packetIdentifier: 1,
            subscriptions: [SubscriptionRequest(filter: filter, maximumQoS: load?.qos ?? .atMostOnce)]
        ).encode(into: &out, version: .v3_1_1)
        flush()
    }

    private func becomeReady() {
        isReady = true
        ready.succeed()
    }
}
