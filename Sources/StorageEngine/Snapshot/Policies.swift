internal import MessageModel
internal import StorageService

extension TopicPolicy {
    func encode(to writer: inout ByteWriter) {
        writer.write8(retention.rawValue)
        writer.write64(maxAgeMicroseconds)
        writer.write64(maxBytes)
        writer.write64(deduplicationMicroseconds)
        writer.write64(maxDelayMicroseconds)
    }

    init?(from reader: inout ByteReader) {
        self.init()
        guard let retention = reader.read8().flatMap(Retention.init), let age = reader.read64(),
            let bytes = reader.read64(), let deduplication = reader.read64(), let delay = reader.read64()
        else { return nil }
        self.retention = retention
        maxAgeMicroseconds = age
        maxBytes = bytes
        deduplicationMicroseconds = deduplication
        maxDelayMicroseconds = delay
    }
}

extension SubscriptionPolicy {
    private static let takesAtMostOnceFlag: UInt8 = 1
    private static let keepsDeliveredFlag: UInt8 = 2

    func encode(to writer: inout ByteWriter) {
        writer.write8(consumers.rawValue)
        writer.write64(leaseMicroseconds)
        writer.write32(maxAttempts)
        writer.write(backoff != nil)
        backoff?.encode(to: &writer)
        writer.write(deadLetterTopic != nil)
        if let deadLetterTopic { writer.write(deadLetterTopic) }
        writer.write(selector)
        writer.write(tags)
        writer.write(nameFilter)
        writer.write32(window)
        writer.write(isDurable)
        writer.write64(expiresUnusedMicroseconds)
        writer.write64(maxMessages)
        writer.write64(maxBytes)
        writer.write64(messageTTLMicroseconds)
        writer.write8(overflow.rawValue)
        writer.write8(maxPriority)
        writer.write8((takesAtMostOnce ? Self.takesAtMostOnceFlag : 0) | (keepsDelivered ? Self.keepsDeliveredFlag : 0))
    }

    init?(from reader: inout ByteReader) {
        self.init()
        guard let consumers = reader.read8().flatMap(Consumers.init), let lease = reader.read64(),
            let maxAttempts = reader.read32(), let hasBackoff = reader.readBool()
        else { return nil }
        self.consumers = consumers
        leaseMicroseconds = lease
        self.maxAttempts = maxAttempts
        if hasBackoff {
            guard let backoff = Backoff(from: &reader) else { return nil }
            self.backoff = backoff
        }
        guard let hasTopic = reader.readBool() else { return nil }
        if hasTopic {
            guard let topic = reader.readString() else { return nil }
            deadLetterTopic = topic
        }
        guard let selector = reader.readString(), let tags = reader.readString(), let nameFilter = reader.readBytes(),
            let window = reader.read32(), let isDurable = reader.readBool(), let expires = reader.read64(),
            let maxMessages = reader.read64(), let maxBytes = reader.read64(), let ttl = reader.read64(),
            let overflow = reader.read8().flatMap(Overflow.init), let maxPriority = reader.read8(),
            let flags = reader.read8(), flags & ~(Self.takesAtMostOnceFlag | Self.keepsDeliveredFlag) == 0
        else { return nil }
        self.selector = selector
        self.tags = tags
        self.nameFilter = nameFilter
        self.window = window
        self.isDurable = isDurable
        expiresUnusedMicroseconds = expires
        self.maxMessages = maxMessages
        self.maxBytes = maxBytes
        messageTTLMicroseconds = ttl
        self.overflow = overflow
        self.maxPriority = maxPriority
        takesAtMostOnce = flags & Self.takesAtMostOnceFlag != 0
        keepsDelivered = flags & Self.keepsDeliveredFlag != 0
    }
}

extension Backoff {
    func encode(to writer: inout ByteWriter) { writer.write(encoded) }

    init?(from reader: inout ByteReader) {
        guard let bytes = reader.readBytes(),
            let decoded = bytes.withUnsafeBytes({ Backoff.decode($0) }), decoded.byteCount == bytes.count
        else { return nil }
        self = decoded.backoff
    }
}

/// Kind u8, with the uppermost bit set where conditions follow; topic, pattern and arguments; then a count of conditions u8,
/// and for each kind u8, pattern and arguments. Arguments are a count u16 and, for each, a name, whether there is a value,
/// and the value.
extension Binding {
    private static let hasConditions: UInt8 = 0x80

    func encode(to writer: inout ByteWriter) {
        writer.write8(kind.rawValue | (also.isEmpty ? 0 : Self.hasConditions))
        writer.write(topic)
        writer.write(pattern)
        Self.encode(arguments, to: &writer)
        guard !also.isEmpty else { return }
        writer.write8(UInt8(clamping: also.count))
        for condition in also.prefix(Int(UInt8.max)) {
            writer.write8(condition.kind.rawValue)
            writer.write(condition.pattern)
            Self.encode(condition.arguments, to: &writer)
        }
    }

    private static func encode(_ arguments: [Argument], to writer: inout ByteWriter) {
        writer.write16(UInt16(clamping: arguments.count))
        for argument in arguments.prefix(Int(UInt16.max)) {
            writer.write(argument.name)
            writer.write(argument.value != nil)
            if let value = argument.value { writer.write(value) }
        }
    }

    init?(from reader: inout ByteReader) {
        guard let code = reader.read8(), let kind = Kind(rawValue: code & ~Self.hasConditions),
            let topic = reader.readString(), let pattern = reader.readBytes(),
            let arguments = Self.readArguments(&reader)
        else { return nil }
        self.init(kind: kind, topic: topic, pattern: pattern, arguments: arguments)
        guard code & Self.hasConditions != 0 else { return }
        guard let count = reader.read8() else { return nil }
        for _ in 0..<count {
            guard let kind = reader.read8().flatMap(Kind.init), let pattern = reader.readBytes(),
                let arguments = Self.readArguments(&reader)
            else { return nil }
            also.append(Condition(kind: kind, pattern: pattern, arguments: arguments))
        }
    }

    private static func readArguments(_ reader: inout ByteReader) -> [Argument]? {
        guard let count = reader.read16() else { return nil }
        var arguments: [Argument] = []
        for _ in 0..<count {
            guard let name = reader.readBytes(), let hasValue = reader.readBool() else { return nil }
            var value: [UInt8]?
            if hasValue {
                guard let bytes = reader.readBytes() else { return nil }
                value = bytes
            }
            arguments.append(Argument(name: name, value: value))
        }
        return arguments
    }
}
