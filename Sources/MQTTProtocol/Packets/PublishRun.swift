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
        guard topic.count <= Int(UInt16.max) else { return false }
        let first = PacketType.publish.rawValue << 4 | qos.rawValue << 1 | (isRetained ? 0b0001 : 0)
        // The length of the name, the packet identifier, and of 5.0 the length of no properties.
        let head = 2 + topic.count + (qos == .atMostOnce ? 0 : 2) + (version.hasProperties ? 1 : 0)
        packets.reserveCapacity(messages)
        for index in 0..<messages {
            let body = payload(index)
            guard let length = UInt32(exactly: head + body.count), length <= VariableByteInteger.maximum else {
                clear()
                return false
            }
            let size = 1 + VariableByteInteger.size(length) + Int(length)
            var packet = EncodedPublish(start: byteCount, packetSize: size, packetIdentifierOffset: 0)
            bytes.writeWithUnsafeMutableBytes(minimumWritableBytes: size) { output in
                var cursor = OutputCursor(output)
                cursor.write(first)
                cursor.writeVariableByteInteger(length)
                cursor.write(UInt16(truncatingIfNeeded: topic.count))
                cursor.write(topic)
                if qos != .atMostOnce {
                    packet.packetIdentifierOffset = cursor.position
                    cursor.write(0 as UInt16)
                }
                if version.hasProperties { cursor.write(0 as UInt8) }
                cursor.write(body)
                return cursor.position
            }
            largest = max(largest, size)
            packets.append(packet)
        }
        return true
    }

    private mutating func clear() {
        if bytes.capacity > Self.keptBytes, byteCount < Self.keptBytes / 4 { bytes = ByteBuffer() }
        bytes.clear()
        packets.removeAll(keepingCapacity: true)
        largest = 0
    }
}

extension MQTTConnectionStateMachine {
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
