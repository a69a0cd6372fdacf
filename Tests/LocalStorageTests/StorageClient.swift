import LocalStorage
import Logging
import MessageModel
import NIOCore
import NIOPosix
import StorageEngine
import StorageService
import Synchronization

/// A storage on a directory, with one session that tests talk to from outside its event loop.
final class StorageClient: Sendable {
    let host: StorageHost
    private let group: MultiThreadedEventLoopGroup
    private let box: NIOLoopBoundBox<Recorder?>
    private let session: NIOLoopBoundBox<(any StorageSession)?>

    static func options() -> ShardOptions {
        var options = ShardOptions()
        options.segmentBytes = 1 << 20
        options.blockBytes = 64 << 10
        options.tailCacheBytes = 256 << 10
        options.logIdentity = 0xABCD_1234
        return options
    }

    init(path: String, options: ShardOptions = StorageClient.options()) async throws {
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        host = try await StorageHost.start(shardPath: path, options: options, eventLoop: loop, logger: logger)
        box = NIOLoopBoundBox.makeEmptyBox(valueType: Recorder.self, eventLoop: loop)
        session = NIOLoopBoundBox.makeEmptyBox(valueType: (any StorageSession).self, eventLoop: loop)
        try await loop.submit { [host, box, session] in
            let recorder = Recorder(eventLoop: loop)
            box.value = recorder
            session.value = host.service.openSession(tenant: .default, delegate: recorder)
        }.get()
    }

    func stop() async throws {
        try await host.eventLoop.submit { [session, box] in
            session.value?.close()
            box.value = nil
        }.get()
        try await host.stop()
        try await group.shutdownGracefully()
    }

    /// Ends everything as a crash of the process would: what was written stays, nothing is completed.
    func abandon() async throws {
        try await group.shutdownGracefully()
    }

    func perform(_ request: StorageRequest) async throws -> StorageReply {
        let loop = host.eventLoop
        return try await loop.flatSubmit { [session, box] () -> EventLoopFuture<StorageReply> in
            let promise = loop.makePromise(of: StorageReply.self)
            let token = box.value!.expectReply(promise)
            session.value!.perform(request, token: token)
            return promise.futureResult
        }.get()
    }

    func append(
        _ bodies: [String],
        to partition: PartitionID,
        name: String? = nil,
        acknowledgement: Acknowledgement = .durable,
        producer: ProducerID = .anonymous,
        sequence: UInt32 = 0,
        owners: [RecordOwner] = []
    ) async throws -> AppendResult {
        let loop = host.eventLoop
        return try await loop.flatSubmit { [session, box] () -> EventLoopFuture<AppendResult> in
            let promise = loop.makePromise(of: AppendResult.self)
            let token = box.value!.expectAppend(promise)
            let batch = makeBatch(bodies, name: name, producer: producer, sequence: sequence)
            batch.withUnsafeBytes { bytes in
                var options = AppendOptions(acknowledgement: acknowledgement)
                options.owners = owners
                session.value!.append(BatchView(prefixOf: bytes)!, to: partition, options: options, token: token)
            }
            return promise.futureResult
        }.get()
    }

    func onSession<Result: Sendable>(
        _ body: @escaping @Sendable (any StorageSession) throws -> Result
    ) async throws -> Result {
        try await host.eventLoop.submit { [session] in try body(session.value!) }.get()
    }

    /// What has been delivered so far, and forgets it.
    func delivered() async throws -> [String] {
        try await host.eventLoop.submit { [box] in
            defer { box.value!.delivered = [] }
            return box.value!.delivered
        }.get()
    }

    /// Waits until so many messages have been delivered, and returns them.
    func waitForDelivery(_ count: Int) async throws -> [String] {
        try await host.eventLoop.flatSubmit { [box, host] in
            box.value!.wait(for: count, eventLoop: host.eventLoop)
        }.get()
    }

    /// Whether this session published what came by live filters, message by message.
    func own() async throws -> [Bool] {
        try await host.eventLoop.submit { [box] in box.value!.own }.get()
    }

    func endedAttachments() async throws -> [UInt32: SluiceError] {
        try await host.eventLoop.submit { [box] in box.value!.ended }.get()
    }
}

/// Encodes a batch whose messages have these bodies.
func makeBatch(
    _ bodies: [String],
    name: String? = nil,
    producer: ProducerID = .anonymous,
    sequence: UInt32 = 0,
    attributes: BatchAttributes = []
) -> [UInt8] {
    var builder = BatchBuilder()
    builder.begin()
    let name = name.map { Array($0.utf8) }
    for body in bodies {
        var body = body
        body.withUTF8 { body in
            (name ?? []).withUnsafeBytes { nameBytes in
                var record = RecordFields()
                record.body = UnsafeRawBufferPointer(body)
                if name != nil {
                    record.routingKey = nameBytes
                    record.hasAbsoluteName = true
                }
                if attributes.contains(.atMostOnce) { record.deliveryClass = .atMostOnce }
                record.born = Timestamp(rawValue: 1)
                builder.append(record)
            }
        }
    }
    return builder.finish(producer: producer, baseSequence: sequence, attributes: attributes) { Array($0) }
}

/// The bodies of all messages in some batches, from an offset on.
func bodies(_ batches: [UInt8], from offset: UInt64 = 0) -> [String] {
    var result: [String] = []
    batches.withUnsafeBytes { bytes in
        var position = 0
        while position < bytes.count,
            let batch = BatchView(prefixOf: UnsafeRawBufferPointer(rebasing: bytes[position...]))
        {
            var cursor = batch.records
            while let record = cursor.next() {
                if batch.baseOffset + UInt64(cursor.index - 1) >= offset {
                    result.append(String(decoding: record.body, as: UTF8.self))
                }
            }
            position += batch.byteCount
        }
    }
    return result
}

private final class Recorder: StorageSessionDelegate {
    private let eventLoop: any EventLoop
    private var nextToken: UInt64 = 1
    private var replies: [UInt64: EventLoopPromise<StorageReply>] = [:]
    private var appends: [UInt64: EventLoopPromise<AppendResult>] = [:]
    private var waiting: (count: Int, promise: EventLoopPromise<[String]>)?
    var delivered: [String] = []
    /// Whether this session published what came by live filters, message by message.
    var own: [Bool] = []
    var ended: [UInt32: SluiceError] = [:]

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func expectReply(_ promise: EventLoopPromise<StorageReply>) -> UInt64 {
        defer { nextToken += 1 }
        replies[nextToken] = promise
        return nextToken
    }

    func expectAppend(_ promise: EventLoopPromise<AppendResult>) -> UInt64 {
        defer { nextToken += 1 }
        appends[nextToken] = promise
        return nextToken
    }

    func wait(for count: Int, eventLoop: any EventLoop) -> EventLoopFuture<[String]> {
        let promise = eventLoop.makePromise(of: [String].self)
        waiting = (count, promise)
        check()
        return promise.futureResult
    }

    private func check() {
        guard let waiting, delivered.count >= waiting.count else { return }
        self.waiting = nil
        waiting.promise.succeed(delivered)
        delivered = []
    }

    func appendCompleted(token: UInt64, result: AppendResult) { appends.removeValue(forKey: token)?.succeed(result) }

    func batchDelivered(_ delivery: BatchDelivery) {
        var cursor = delivery.batch.records
        while let record = cursor.next() {
            let index = UInt32(cursor.index - 1)
            if delivery.ranges.contains(where: { $0.first <= index && index <= $0.last }) {
                delivered.append(String(decoding: record.body, as: UTF8.self))
            }
        }
    }

    func messageRouted(_ message: RoutedMessage) {
        var name: [UInt8] = []
        message.record.appendName(topic: message.topicName, to: &name)
        own.append(message.isOwn)
        let filters = message.filters.map(String.init).joined(separator: ",")
        delivered.append(
            "\(String(decoding: name, as: UTF8.self))=\(String(decoding: message.record.body, as: UTF8.self))[\(filters)]"
        )
    }

    func attachmentEnded(attachment: UInt32, error: SluiceError) { ended[attachment] = error }

    func requestCompleted(token: UInt64, result: Result<StorageReply, SluiceError>) {
        guard let promise = replies.removeValue(forKey: token) else { return }
        switch result {
        case .success(let reply): promise.succeed(reply)
        case .failure(let error): promise.fail(error)
        }
    }

    func storageRoundEnded() { check() }
}
