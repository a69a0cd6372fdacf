internal import MessageModel
internal import NIOCore
internal import NativeProtocol

/// Sends messages of transactions to one address: a batch each, by an anonymous producer, because what is not stored
/// is rolled back and never sent again. Belongs to the event loop.
final class TransactionSender: LinkParticipant {
    private struct Waiting {
        var message: OutgoingMessage
        var transaction: UInt64
        var completion: (SluiceClientError?) -> Void
    }

    private let core: ClientCore
    private let address: String
    private var producer: OpenProducerResponse?
    private var isOpening = false
    private var waiting: [Waiting] = []
    /// By partition and first sequence.
    private var sent: [UInt64: (SluiceClientError?) -> Void] = [:]
    private var nextSequence: UInt32 = 0
    private var builder = BatchBuilder()

    init(core: ClientCore, address: String) {
        self.core = core
        self.address = address
        core.add(self)
    }

    func send(
        _ message: OutgoingMessage,
        transaction: UInt64,
        completion: @escaping (SluiceClientError?) -> Void
    ) {
        waiting.append(Waiting(message: message, transaction: transaction, completion: completion))
        pump()
    }

    func close() {
        if let producer {
            core.perform(.closeProducer, handle: producer.handle) { _ in
            } completion: { _ in
            }
        }
        core.remove(self)
        fail(.isClosed)
    }

    private func pump() {
        guard let link = core.link, !waiting.isEmpty else { return }
        guard let producer else { return open() }
        let ready = waiting
        waiting = []
        for entry in ready { write(entry, producer, link) }
        link.flush()
    }

    private func open() {
        guard !isOpening else { return }
        isOpening = true
        core.perform(.openProducer, isRepeatable: false) { buffer in
            OpenProducerRequest(flags: .anonymous, address: address).write(to: &buffer)
        } completion: { result in
            self.isOpening = false
            switch result.decoded(.openProducer, { OpenProducerResponse(&$0) }) {
            case .failure(let error): self.fail(error)
            case .success(let response):
                self.producer = response
                self.core.route(response.handle, to: self)
                self.pump()
            }
        }
        core.link?.flush()
    }

    private func write(_ entry: Waiting, _ producer: OpenProducerResponse, _ link: Link) {
        let sequence = nextSequence
        nextSequence &+= 1
        let partition: UInt16
        switch encode(entry.message, producer) {
        case .failure(let error): return entry.completion(error)
        case .success(let chosen): partition = chosen
        }
        sent[Self.key(partition, sequence)] = entry.completion
        builder.finish(baseSequence: sequence) { batch in
            link.write(FrameHeader(.request, .produce, flags: .oneWay, handle: producer.handle)) { buffer in
                ProduceHead(partition: partition, acknowledgement: .durable, transaction: entry.transaction)
                    .write(to: &buffer)
                buffer.writeBytes(batch)
            }
        }
        builder.begin()
    }

    /// Puts the message into the builder.
    /// - Returns: its partition.
    private func encode(
        _ message: OutgoingMessage,
        _ producer: OpenProducerResponse
    ) -> Result<UInt16, SluiceClientError> {
        var writer = PropertyWriter(capacity: 64)
        if !message.properties.isEmpty { message.properties.write(to: &writer) }
        let ownKey = message.routingKey.map { Array($0.utf8) }
        let key = ownKey ?? (producer.hasRoutingKey ? producer.routingKey : nil)
        let isAbsolute = ownKey == nil && producer.isAbsolute
        var name = isAbsolute ? [] : Array(producer.topicName.utf8)
        if let key { name += (isAbsolute ? [] : [NameRules.separator]) + key }
        let problem: SluiceError? = name.withUnsafeBytes { name in
            do throws(SluiceError) { try NameRules.checkName(name) } catch { return error }
            return nil
        }
        if let problem { return .failure(SluiceClientError(problem)) }
        let hash = (message.orderingKey ?? name).withUnsafeBytes { Checksum.crc32c($0) }
        var error: SluiceClientError?
        writer.withBytes { properties in
            message.body.withUnsafeBytes { body in
                (key ?? []).withUnsafeBytes { keyBytes in
                    (message.orderingKey ?? []).withUnsafeBytes { orderingKey in
                        var fields = RecordFields()
                        fields.born = Producer.now()
                        fields.body = body
                        fields.properties = properties
                        fields.isRetained = message.isRetained
                        if key != nil { fields.routingKey = keyBytes }
                        fields.hasAbsoluteName = isAbsolute
                        if message.orderingKey != nil { fields.orderingKey = orderingKey }
                        if let problem = Producer.problem(fields) {
                            error = problem
                        } else {
                            builder.append(fields)
                        }
                    }
                }
            }
        }
        if let error { return .failure(error) }
        return .success(UInt16(truncatingIfNeeded: hash % UInt32(max(1, producer.partitions))))
    }

    private static func key(_ partition: UInt16, _ sequence: UInt32) -> UInt64 {
        UInt64(partition) << 32 | UInt64(sequence)
    }

    func received(_ opcode: Opcode, _ frame: Frame) {
        guard opcode == .produceAck else { return }
        var reader = WireReader(frame.body)
        guard let ack = ProduceAck(&reader, version: core.version(.produceAck)) else { return }
        let error = ack.refusal(frame).map { SluiceClientError($0) }
        for run in ack.runs {
            // A run of a refusal counts no records, but stands for one.
            for index in 0..<max(1, run.count) {
                sent.removeValue(forKey: Self.key(ack.partition, run.firstSequence &+ index))?(error)
            }
        }
    }

    func receivedStrayError(_ error: SluiceClientError) { fail(error) }

    /// What is on its way is for the rollback; what was not sent is not worth a new connection either.
    private func fail(_ error: SluiceClientError) {
        let completions = Array(sent.values) + waiting.map(\.completion)
        sent = [:]
        waiting = []
        for completion in completions { completion(error) }
    }

    func linkReady(_ link: Link) { pump() }

    func linkLost(_ error: SluiceClientError) {
        producer = nil
        isOpening = false
        let completions = Array(sent.values)
        sent = [:]
        for completion in completions {
            completion(SluiceClientError(.indeterminate, "it may be stored or not: \(error.message)"))
        }
    }

    func gaveUp(_ error: SluiceClientError) { fail(error) }
    func readEnded(_ link: Link) {}
    func becameWritable(_ link: Link) {}
}
