import MessageModel
import TestSupport
import Testing

/// A message as a test sees it.
private struct Message: Equatable {
    var routingKey: [UInt8]?
    var isAbsolute = false
    var orderingKey: [UInt8]?
    var properties: [UInt8] = []
    var body: [UInt8] = []
    var deliveryClass = DeliveryClass.atLeastOnce
    var isRetained = false
    var born: UInt64 = 0

    static func random(_ random: inout SeededRandom, base: UInt64) -> Message {
        var message = Message()
        if Bool.random(using: &random) {
            message.routingKey = Array(random.name().utf8)
            message.isAbsolute = Bool.random(using: &random)
        }
        if Int.random(in: 0..<4, using: &random) == 0 { message.orderingKey = random.bytes(0...40) }
        if Int.random(in: 0..<3, using: &random) == 0 {
            var writer = PropertyWriter(capacity: 8)
            writer.append(.contentType, "text/plain")
            writer.append(.priority, byte: 7)
            writer.append(.expiry, number: .random(in: 0 ... .max, using: &random))
            writer.appendUser(name: "a", value: random.name())
            message.properties = writer.withBytes { Array($0) }
        }
        message.body = random.bytes(0...(Bool.random(using: &random) ? 20 : 5_000))
        message.deliveryClass = DeliveryClass(rawValue: .random(in: 0...2, using: &random))!
        message.isRetained = Bool.random(using: &random)
        message.born = base + (Bool.random(using: &random) ? 0 : .random(in: 0...1 << 40, using: &random))
        return message
    }

    func append(to builder: inout BatchBuilder) {
        var fields = RecordFields()
        fields.hasAbsoluteName = isAbsolute
        fields.deliveryClass = deliveryClass
        fields.isRetained = isRetained
        fields.born = Timestamp(rawValue: born)
        (routingKey ?? []).withUnsafeBytes { key in
            (orderingKey ?? []).withUnsafeBytes { ordering in
                properties.withUnsafeBytes { properties in
                    body.withUnsafeBytes { body in
                        // An empty array has no memory: the field must still be there.
                        fields.routingKey = routingKey == nil ? nil : key
                        fields.orderingKey = orderingKey == nil ? nil : ordering
                        fields.properties = properties
                        fields.body = body
                        builder.append(fields)
                    }
                }
            }
        }
    }

    init() {}

    init(_ record: RecordView, base: UInt64) {
        routingKey = record.routingKey.map { Array($0) }
        isAbsolute = record.hasAbsoluteName
        orderingKey = record.orderingKey.map { Array($0) }
        properties = Array(record.properties)
        body = Array(record.body)
        deliveryClass = record.deliveryClass
        isRetained = record.isRetained
        born = base + record.timestampDelta
    }
}

private func encode(_ messages: [Message], producer: UInt64 = 0, sequence: UInt32 = 0) -> [UInt8] {
    var builder = BatchBuilder(capacity: 16)
    builder.begin()
    for message in messages { message.append(to: &builder) }
    return builder.finish(producer: ProducerID(rawValue: producer), baseSequence: sequence) { Array($0) }
}

private func verify(_ bytes: [UInt8]) -> BatchError? {
    bytes.withUnsafeBytes { bytes in
        guard let batch = BatchView(prefixOf: bytes), batch.byteCount == bytes.count else { return .length }
        do throws(BatchError) { try batch.verify() } catch { return error }
        return nil
    }
}

@Suite("A batch")
struct BatchTests {
    @Test("gives back every message that went in", arguments: 0..<200)
    func roundTrip(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let base = UInt64.random(in: 1...1 << 50, using: &random)
        var messages = (0..<Int.random(in: 1...40, using: &random)).map { _ in Message.random(&random, base: base) }
        messages[0].born = base
        let bytes = encode(messages, producer: seed, sequence: 77)
        #expect(verify(bytes) == nil, "seed \(seed)")
        bytes.withUnsafeBytes { bytes in
            let batch = BatchView(prefixOf: bytes)!
            #expect(batch.recordCount == messages.count)
            #expect(batch.producer.rawValue == seed)
            #expect(batch.baseSequence == 77)
            var cursor = batch.records
            for message in messages {
                guard let record = cursor.next() else {
                    Issue.record("seed \(seed): a message is missing")
                    return
                }
                var expected = message
                if message.routingKey == nil { expected.isAbsolute = false }
                #expect(Message(record, base: base) == expected, "seed \(seed)")
            }
            #expect(cursor.next() == nil)
            #expect(cursor.isAtEnd)
        }
    }

    @Test("of which one bit was changed is refused, whichever bit it is")
    func flippedBits() {
        var random = SeededRandom(seed: 1)
        let bytes = encode((0..<3).map { _ in Message.random(&random, base: 5) })
        // Bytes 4 to 31 are the server's to write, and the producer's checksum does not cover them.
        for index in (0..<4).map({ $0 }) + (32..<bytes.count).map({ $0 }) {
            for bit in 0..<8 {
                var changed = bytes
                changed[index] ^= 1 << bit
                #expect(verify(changed) != nil, "byte \(index) bit \(bit)")
            }
        }
    }

    @Test("with a right checksum over garbage never traps, and is read to its end or refused", arguments: 0..<400)
    func hostileRecords(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var bytes = encode((0..<4).map { _ in Message.random(&random, base: 9) })
        for _ in 0..<Int.random(in: 1...6, using: &random) {
            let index = Int.random(in: 36..<bytes.count, using: &random)
            bytes[index] = .random(in: .min ... .max, using: &random)
        }
        if Bool.random(using: &random) { bytes.removeLast(Int.random(in: 0..<(bytes.count - 80), using: &random)) }
        bytes.withUnsafeMutableBytes { memory in
            memory.store32(UInt32(memory.count - 4), at: 0)
            memory.store32(UInt32(memory.count - BatchLayout.headerBytes), at: BatchLayout.rawLengthOffset)
            let checksum = Checksum.crc32c(UnsafeRawBufferPointer(memory).slice(36..<memory.count))
            memory.store32(checksum, at: BatchLayout.dataChecksumOffset)
        }
        if verify(bytes) == nil {
            bytes.withUnsafeBytes { bytes in
                var cursor = BatchView(prefixOf: bytes)!.records
                while let record = cursor.next() {
                    var properties = PropertyCursor(record.properties)
                    while properties.next() != nil {}
                    #expect(properties.isAtEnd)
                }
                #expect(cursor.isAtEnd)
            }
        }
    }

    @Test("keeps its data checksum when the server stamps it")
    func stamping() {
        var message = Message()
        message.body = [1, 2, 3]
        var bytes = encode([message])
        bytes.withUnsafeMutableBytes { memory in
            BatchView.stamp(memory, baseOffset: 1 << 40, appendTime: Timestamp(rawValue: 12345), epoch: 7)
        }
        bytes.withUnsafeBytes { bytes in
            let batch = BatchView(prefixOf: bytes)!
            #expect(batch.hasValidDataChecksum)
            #expect(batch.hasValidStamp)
            #expect(batch.baseOffset == 1 << 40)
            #expect(batch.appendTime.rawValue == 12345)
            #expect(batch.epoch == 7)
        }
    }

    @Test("with attributes of a newer version is refused by name")
    func unknownAttributes() {
        var builder = BatchBuilder()
        builder.begin()
        builder.append(RecordFields())
        let bytes = builder.finish(attributes: .encrypted) { Array($0) }
        #expect(verify(bytes) == .attributes(BatchAttributes.encrypted.rawValue))
    }

    @Test("that ends early or is empty is no batch")
    func truncated() {
        var random = SeededRandom(seed: 3)
        let bytes = encode([Message.random(&random, base: 1)])
        for length in 0..<bytes.count {
            #expect(Array(bytes[..<length]).withUnsafeBytes { BatchView(prefixOf: $0) == nil })
        }
    }

    @Test("a clock that steps back does not change the order, only the time of birth")
    func clockStepsBack() {
        var first = Message()
        first.born = 1_000
        var second = Message()
        second.born = 500
        let bytes = encode([first, second])
        bytes.withUnsafeBytes { bytes in
            var cursor = BatchView(prefixOf: bytes)!.records
            _ = cursor.next()
            #expect(cursor.next()?.timestampDelta == 0)
        }
    }
}

@Suite("Checksums and numbers")
struct ChecksumTests {
    @Test("CRC32C is that of RFC 3720, appendix B.4")
    func knownValues() {
        func crc(_ bytes: [UInt8]) -> UInt32 { bytes.withUnsafeBytes { Checksum.crc32c($0) } }
        #expect(crc(Array("123456789".utf8)) == 0xE306_9283)
        #expect(crc([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(crc([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
        #expect(crc((0..<32).map { UInt8($0) }) == 0x46DD_794E)
    }

    @Test(
        "a checksum in parts is that of the whole, at every length",
        arguments: [0, 1, 7, 8, 383, 384, 385, 6_143, 6_144, 20_000]
    )
    func inParts(length: Int) {
        var random = SeededRandom(seed: UInt64(length))
        let bytes = random.bytes(length...length)
        bytes.withUnsafeBytes { bytes in
            let whole = Checksum.crc32c(bytes)
            for split in [0, length / 3, length / 2, length] {
                let first = Checksum.crc32c(bytes.slice(0..<split))
                #expect(Checksum.crc32c(bytes.slice(split..<length), continuing: first) == whole)
            }
        }
    }

    @Test("a varint comes back, takes the bytes it says, and nothing longer than ten bytes is taken")
    func varints() {
        var random = SeededRandom(seed: 11)
        var values: [UInt64] = [0, 1, 127, 128, 16_383, 16_384, .max, .max - 1, 1 << 63]
        for shift in 0..<64 { values.append(.random(in: 0 ... .max, using: &random) >> UInt64(shift)) }
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 1)
        defer { memory.deallocate() }
        for value in values {
            var end = 0
            Varint.write(value, memory, &end)
            #expect(end == Varint.size(value))
            var position = 0
            let readable = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(memory)[0..<end])
            #expect(Varint.read(readable, &position) == value)
            #expect(position == end)
            for shorter in 0..<end {
                var position = 0
                #expect(Varint.read(readable.slice(0..<shorter), &position) == nil)
            }
        }
        for tooLong in [[UInt8](repeating: 0x80, count: 11), [UInt8](repeating: 0xFF, count: 9) + [0x02]] {
            var position = 0
            #expect(tooLong.withUnsafeBytes { Varint.read($0, &position) } == nil)
        }
    }
}
