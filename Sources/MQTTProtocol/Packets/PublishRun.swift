package import NIOCore

/// Messages that follow each other under one name, without properties, encoded once for all their subscribers of a
/// version: `MQTTConnectionStateMachine.send` copies them in one piece and gives each its packet identifier.
package struct PublishRun: Sendable {
    private(set) var bytes = ByteBuffer()
    private(set) var packets: [EncodedPublish] = []
    /// Bytes of the largest packet.
    private(set) var largest = 0
    private(set) var qos = QoS.atMostOnce

    /// More than this is given back when the next run needs much less.
    private static let keptBytes = 256 << 10

    package init() {}

    package var count: Int { packets.count }
    package var byteCount: Int { bytes.readableBytes }

    /// Encodes messages in place of what it held.
    ///
    /// - Parameter payload: called once for each, in order.
    /// - Returns: false, and it is empty, where name or packet would be longer than MQTT can say.
    package mutating func encode(
        _ messages: Int,
        version: ProtocolVersion,
        qos: QoS,
        isRetained: Bool,
        topic: UnsafeRawBufferPointer,
        payload: (Int) -> UnsafeRawBufferPointer
    ) -> Bool {
        clear()
        self.qos = qos
        let head = PlainHead(version: version, qos: qos, isRetained: isRetained, topic: topic)
        guard let sizes = head.sizes(messages, payload: payload) else { return false }
        largest = sizes.largest
        var packets = packets
        self.packets = []
        packets.reserveCapacity(messages)
        bytes.writeWithUnsafeMutableBytes(minimumWritableBytes: sizes.total) { output in
            var cursor = OutputCursor(output)
            for index in 0..<messages {
                let start = cursor.position
                let identifier = head.write(payload(index), identifier: 0, &cursor)
                packets.append(
                    EncodedPublish(
                        start: start,
                        packetSize: cursor.position &- start,
                        packetIdentifierOffset: identifier &- start
                    )
                )
            }
            return cursor.position
        }
        self.packets = packets
        return true
    }

    private mutating func clear() {
        if bytes.capacity > Self.keptBytes, byteCount < Self.keptBytes / 4 { bytes = ByteBuffer() }
        bytes.clear()
        packets.removeAll(keepingCapacity: true)
        largest = 0
    }
}

/// What PUBLISH packets of one name have before their payloads.
private struct PlainHead {
    private let first: UInt8
    private let topic: UnsafeRawBufferPointer
    private let hasIdentifier: Bool
    private let hasProperties: Bool
    /// The length of the name, the name, the packet identifier, and of 5.0 the length of no properties.
    private let count: Int

    init(version: ProtocolVersion, qos: QoS, isRetained: Bool, topic: UnsafeRawBufferPointer) {
        first = PacketType.publish.rawValue << 4 | qos.rawValue << 1 | (isRetained ? 0b0001 : 0)
        self.topic = topic
        hasIdentifier = qos != .atMostOnce
        hasProperties = version.hasProperties
        count = 2 + topic.count + (hasIdentifier ? 2 : 0) + (hasProperties ? 1 : 0)
    }

    /// Bytes of all packets, and of the largest; nil where name or packet would be longer than MQTT can say.
    @inline(__always)
    func sizes(_ messages: Int, payload: (Int) -> UnsafeRawBufferPointer) -> (total: Int, largest: Int)? {
        guard topic.count <= Int(UInt16.max) else { return nil }
        var total = 0
        var longest = 0
        for index in 0..<messages {
            let length = count + payload(index).count
            guard length <= Int(VariableByteInteger.maximum) else { return nil }
            longest = max(longest, length)
            total += 1 + VariableByteInteger.size(UInt32(truncatingIfNeeded: length)) + length
        }
        return (total, 1 + VariableByteInteger.size(UInt32(truncatingIfNeeded: longest)) + longest)
    }

    /// - Returns: where the packet identifier stands; where the packet begins if it has none.
    @inline(__always)
    func write(_ body: UnsafeRawBufferPointer, identifier: UInt16, _ cursor: inout OutputCursor) -> Int {
        var place = cursor.position
        cursor.write(first)
        cursor.writeVariableByteInteger(UInt32(truncatingIfNeeded: count &+ body.count))
        cursor.write(UInt16(truncatingIfNeeded: topic.count))
        cursor.write(topic)
        if hasIdentifier {
            place = cursor.position
            cursor.write(identifier)
        }
        if hasProperties { cursor.write(0 as UInt8) }
        cursor.write(body)
        return place
    }
}

extension MQTTConnectionStateMachine {
    /// Sends messages of one name, without properties, that nobody else gets: as `send(_:token:output:)` does with a run,
    /// without a copy.
    ///
    /// - Parameters:
    ///   - mark: called for each message of QoS 1 and 2, in order: its token, and the packet identifier that it must have,
    ///     zero for the next. Where that is open already, no more are sent.
    ///   - payload: called twice for each message.
    package mutating func send(
        _ messages: Int,
        qos: QoS,
        isRetained: Bool,
        topic: UnsafeRawBufferPointer,
        output: inout ByteBuffer,
        mark: (Int) -> (token: UInt64, identifier: UInt16),
        payload: (Int) -> UnsafeRawBufferPointer
    ) -> Int {
        guard isConnected, qos <= options.maximumQoS else { return 0 }
        let head = PlainHead(version: version, qos: qos, isRetained: isRetained, topic: topic)
        guard let sizes = head.sizes(messages, payload: payload), fits(packetSize: sizes.largest) else { return 0 }
        let isExactlyOnce = qos == .exactlyOnce
        var sent = 0
        output.writeWithUnsafeMutableBytes(minimumWritableBytes: sizes.total) { memory in
            var cursor = OutputCursor(memory)
            while sent < messages {
                var identifier: UInt16 = 0
                if qos != .atMostOnce {
                    let mark = mark(sent)
                    if mark.identifier == 0 {
                        guard let next = window.open(token: mark.token, isExactlyOnce: isExactlyOnce) else { break }
                        identifier = next
                    } else {
                        let phase = isExactlyOnce ? PacketIdentifierTable.Phase.publishedExactlyOnce : .published
                        guard window.hasRoom, window.open(mark.identifier, token: mark.token, phase: phase) else {
                            break
                        }
                        identifier = mark.identifier
                    }
                }
                _ = head.write(payload(sent), identifier: identifier, &cursor)
                sent &+= 1
            }
            return cursor.position
        }
        return sent
    }

    /// Sends the messages of a run to this client, from the first on, as far as its window has room.
    ///
    /// - Parameter token: comes back with each acknowledgement. Unused for QoS 0.
    /// - Returns: how many were sent; zero also where one of them is larger than the client takes: send them one by one
    ///   then.
    package mutating func send(_ run: borrowing PublishRun, token: UInt64, output: inout ByteBuffer) -> Int {
        guard isConnected, run.qos <= options.maximumQoS, fits(packetSize: run.largest) else { return 0 }
        guard run.qos != .atMostOnce else {
            output.writeImmutableBuffer(run.bytes)
            return run.count
        }
        let isExactlyOnce = run.qos == .exactlyOnce
        var sent = 0
        run.bytes.withUnsafeReadableBytes { source in
            _ = output.writeWithUnsafeMutableBytes(minimumWritableBytes: source.count) { target in
                var end = 0
                for packet in run.packets {
                    guard let identifier = window.open(token: token, isExactlyOnce: isExactlyOnce) else { break }
                    let next = packet.start &+ packet.packetSize
                    UnsafeMutableRawBufferPointer(rebasing: target[end..<next])
                        .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[end..<next]))
                    target.storeBytes(
                        of: identifier.bigEndian,
                        toByteOffset: packet.start &+ packet.packetIdentifierOffset,
                        as: UInt16.self
                    )
                    end = next
                    sent &+= 1
                }
                return end
            }
        }
        return sent
    }
}
