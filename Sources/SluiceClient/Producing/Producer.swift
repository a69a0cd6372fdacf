internal import MessageModel
internal import NIOCore
internal import NativeProtocol

/// Sends messages to one address, gathered to batches.
///
/// Every message is stored once, also over reconnects: batches are numbered, and the server recognises one that comes
/// again. Messages of one partition are stored in the order in which they were given to the producer.
///
/// Three ways to send, all of any number of tasks at a time:
/// - `send` waits until the message is stored and says where.
/// - `enqueue` waits only where the buffer is full. `flush` waits for all that was enqueued and throws what failed.
/// - `tryEnqueue` never waits: for loops that send millions of messages a second.
public final class Producer: Sendable {
    /// The topic that the address belongs to.
    public let topic: String
    /// The number of its partitions.
    public let partitionCount: Int

    private let core: ClientCore
    private let driver: ProducerDriver
    private let accumulator: Accumulator
    private let options: ProducerOptions
    private let name: ProducerName

    init(core: ClientCore, address: String, options: ProducerOptions) async throws(SluiceClientError) {
        let driver = ProducerDriver(core: core, address: address, options: options)
        let result: Result<(OpenProducerResponse, Accumulator), SluiceClientError> =
            await withCheckedContinuation { continuation in
                core.eventLoop.execute { driver.start { continuation.resume(returning: $0) } }
            }
        let (response, accumulator) = try result.get()
        self.core = core
        self.driver = driver
        self.accumulator = accumulator
        self.options = options
        topic = response.topicName
        partitionCount = max(1, Int(response.partitions))
        name = ProducerName(response)
        if case .fixed(let partition) = options.partitioning, partition < 0 || partition >= partitionCount {
            await close()
            throw SluiceClientError(.invalidArgument, "the topic '\(topic)' has \(partitionCount) partitions")
        }
    }

    deinit {
        let driver = driver
        core.eventLoop.execute { driver.close() }
    }

    // MARK: - Sending

    /// Sends a message and waits until it is stored.
    /// - Throws: `indeterminate` where it may be stored or not; any other error means that it is not.
    public func send(_ message: OutgoingMessage) async throws(SluiceClientError) -> Receipt {
        while true {
            let result: Result<Receipt, SluiceClientError>? = await withCheckedContinuation { continuation in
                do throws(SluiceClientError) {
                    let isTaken = try offer(message) { continuation.resume(returning: $0) }
                    if !isTaken { continuation.resume(returning: nil) }
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
            if let result { return try result.get() }
            await waitForRoom()
        }
    }

    /// Sends bytes and waits until they are stored.
    public func send(_ body: [UInt8], orderingKey: [UInt8]? = nil) async throws(SluiceClientError) -> Receipt {
        try await send(OutgoingMessage(body, orderingKey: orderingKey))
    }

    /// Gives a message to the producer; waits only while its buffer is full.
    public func enqueue(_ message: OutgoingMessage) async throws(SluiceClientError) {
        while try !offer(message, nil) { await waitForRoom() }
    }

    /// Gives bytes to the producer; waits only while its buffer is full.
    public func enqueue(_ body: [UInt8], orderingKey: [UInt8]? = nil) async throws(SluiceClientError) {
        while try !tryEnqueue(body, orderingKey: orderingKey) { await waitForRoom() }
    }

    /// Gives bytes to the producer, without waiting.
    /// - Returns: false where the buffer is full; nothing is taken then.
    public func tryEnqueue(_ body: [UInt8], orderingKey: [UInt8]? = nil) throws(SluiceClientError) -> Bool {
        var fields = RecordFields()
        fields.born = Self.now()
        return try withOptionalBytes(orderingKey) { key throws(SluiceClientError) in
            fields.orderingKey = key
            return try withOptionalBytes(body) { body throws(SluiceClientError) in
                if let body { fields.body = body }
                return try offer(&fields, routingKey: nil, nil)
            }
        }
    }

    /// Gives borrowed bytes to the producer, without waiting and without an allocation. They are copied.
    /// - Returns: false where the buffer is full; nothing is taken then.
    public func tryEnqueue(
        bytes body: UnsafeRawBufferPointer,
        orderingKey: UnsafeRawBufferPointer? = nil
    ) throws(SluiceClientError) -> Bool {
        var fields = RecordFields()
        fields.born = Self.now()
        fields.body = body
        fields.orderingKey = orderingKey
        return try offer(&fields, routingKey: nil, nil)
    }

    /// Waits while the buffer is full.
    public func waitForRoom() async {
        await withCheckedContinuation { continuation in accumulator.waitForRoom { continuation.resume() } }
    }

    /// Waits until everything that was given to the producer before is stored.
    /// - Throws: the first failure of a message for which nobody waited since the last flush.
    public func flush() async throws(SluiceClientError) {
        let error: SluiceClientError? = await withCheckedContinuation { continuation in
            if accumulator.flush({ continuation.resume(returning: $0) }) { wake(.now) }
        }
        if let error { throw error }
    }

    /// Waits until everything is stored, and ends the producer. Whoever wants to know of failures flushes before.
    public func close() async {
        try? await flush()
        let driver = driver
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            core.eventLoop.execute {
                driver.close()
                continuation.resume()
            }
        }
    }

    // MARK: - From a message to a record

    private typealias Waiter = (Result<Receipt, SluiceClientError>) -> Void

    private func offer(_ message: OutgoingMessage, _ waiter: Waiter?) throws(SluiceClientError) -> Bool {
        var fields = RecordFields()
        fields.born = Self.now()
        fields.isRetained = message.isRetained
        var writer = PropertyWriter(capacity: 64)
        if !message.properties.isEmpty { message.properties.write(to: &writer) }
        let key = message.routingKey.map { Array($0.utf8) }
        if let key, let problem = name.problem(key) { throw problem }
        let result: Result<Bool, SluiceClientError> = writer.withBytes { properties in
            fields.properties = properties
            return Result { () throws(SluiceClientError) in
                try withOptionalBytes(message.body) { body throws(SluiceClientError) in
                    if let body { fields.body = body }
                    return try withOptionalBytes(message.orderingKey) { orderingKey throws(SluiceClientError) in
                        fields.orderingKey = orderingKey
                        return try withOptionalBytes(key) { key throws(SluiceClientError) in
                            try offer(&fields, routingKey: key, waiter)
                        }
                    }
                }
            }
        }
        return try result.get()
    }

    /// - Parameter routingKey: nil for the producer's own.
    private func offer(
        _ fields: inout RecordFields,
        routingKey: UnsafeRawBufferPointer?,
        _ waiter: Waiter?
    ) throws(SluiceClientError) -> Bool {
        if let routingKey {
            fields.routingKey = routingKey
        } else {
            fields.routingKey = name.routingKey
            fields.hasAbsoluteName = name.isAbsolute
        }
        if let problem = Self.problem(fields) { throw problem }
        let partition: Int?
        switch options.partitioning {
        case .roundRobin: partition = nil
        case .fixed(let index): partition = index
        case .byKeyOrName:
            partition = partitionCount == 1 ? 0 : Int(hash(fields, routingKey) % UInt32(partitionCount))
        }
        switch accumulator.append(fields, partition: partition, waiter: waiter) {
        case .accepted(let wake):
            if wake != .none { self.wake(wake) }
            return true
        case .full: return false
        case .failed(let error): throw error
        }
    }

    /// What is too large about a message.
    static func problem(_ fields: RecordFields) -> SluiceClientError? {
        if let key = fields.orderingKey, key.count > Limits.orderingKeyBytes {
            return SluiceClientError(.tooLarge, "an ordering key has at most \(Limits.orderingKeyBytes) bytes")
        }
        if fields.properties.count > Limits.propertiesBytes {
            return SluiceClientError(.tooLarge, "a message's properties have at most \(Limits.propertiesBytes) bytes")
        }
        if BatchBuilder.sizeBound(fields) > Limits.batchBytes - BatchLayout.headerBytes {
            return SluiceClientError(.tooLarge, "a message has at most \(Limits.batchBytes - (1 << 10)) bytes")
        }
        return nil
    }

    private func hash(_ fields: RecordFields, _ routingKey: UnsafeRawBufferPointer?) -> UInt32 {
        if let key = fields.orderingKey { return Checksum.crc32c(key) }
        guard let routingKey else { return name.hash }
        return Checksum.crc32c(routingKey, continuing: name.topicPrefixHash)
    }

    private func wake(_ wake: Accumulator.Wake) {
        let driver = driver
        core.eventLoop.execute { driver.wake(wake) }
    }

    static func now() -> Timestamp {
        Timestamp(rawValue: SystemClock.microseconds())
    }
}

/// The name that a producer's messages have, where its records find it without an allocation.
private final class ProducerName: @unchecked Sendable {
    let routingKey: UnsafeRawBufferPointer?
    let isAbsolute: Bool
    /// CRC32C of the full name, and of the topic's name with a `/`.
    let hash: UInt32
    let topicPrefixHash: UInt32
    private let topicBytes: Int
    private let memory: UnsafeMutableRawBufferPointer

    init(_ response: OpenProducerResponse) {
        memory = .allocate(byteCount: max(1, response.routingKey.count), alignment: 1)
        memory.copyBytes(from: response.routingKey)
        isAbsolute = response.isAbsolute
        let key = UnsafeRawBufferPointer(rebasing: memory[0..<response.routingKey.count])
        routingKey = response.hasRoutingKey ? key : nil
        var topic = Array(response.topicName.utf8)
        topicBytes = topic.count
        let topicHash = topic.withUnsafeBytes { Checksum.crc32c($0) }
        topic.append(NameRules.separator)
        topicPrefixHash = topic.withUnsafeBytes { Checksum.crc32c($0) }
        if !response.hasRoutingKey {
            hash = topicHash
        } else {
            hash = Checksum.crc32c(key, continuing: response.isAbsolute ? 0 : topicPrefixHash)
        }
    }

    deinit { memory.deallocate() }

    /// What is wrong with a message's own routing key.
    func problem(_ key: [UInt8]) -> SluiceClientError? {
        guard topicBytes + 1 + key.count <= Limits.nameBytes else {
            return SluiceClientError(.invalidName, "a name has at most \(Limits.nameBytes) bytes")
        }
        return key.withUnsafeBytes { key in
            do throws(SluiceError) { try NameRules.checkName(key) } catch { return SluiceClientError(error) }
            return nil
        }
    }
}

private func withOptionalBytes<Value>(
    _ bytes: [UInt8]?,
    _ body: (UnsafeRawBufferPointer?) throws(SluiceClientError) -> Value
) throws(SluiceClientError) -> Value {
    guard let bytes else { return try body(nil) }
    let result: Result<Value, SluiceClientError> = bytes.withUnsafeBytes { bytes in
        Result { () throws(SluiceClientError) in try body(bytes) }
    }
    return try result.get()
}
