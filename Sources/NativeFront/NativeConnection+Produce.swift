internal import Gateway
internal import MessageModel
internal import NIOCore
internal import NativeProtocol
internal import StorageService

/// The way of a batch from the wire to storage, and of its acknowledgement back.
extension NativeConnection {
    /// Appends are told apart by what their acknowledgement needs: the batch's first sequence, the partition, and the
    /// place of the producer's handle.
    private static func token(sequence: UInt32, partition: UInt16, place: Int) -> UInt64 {
        UInt64(sequence) << 32 | UInt64(partition) << 16 | UInt64(UInt16(truncatingIfNeeded: place))
    }

    func produce(_ frame: Frame) {
        guard let place = handles.place(frame.header.handle), case .producer(let producer)? = handles[place: place],
            !producer.isClosed
        else {
            respond(to: frame.header, error: SluiceError(.notFound, "no producer has this handle"))
            return
        }
        guard let (head, batch) = ProduceHead.read(frame.body, flags: frame.header.flags),
            let acknowledgement = Acknowledgement(rawValue: head.acknowledgement)
        else {
            respond(to: frame.header, error: SluiceError(.malformed, "the body is not a partition and one whole batch"))
            return
        }
        if let error = check(batch, producer, partition: head.partition) {
            refuseBatch(handle: producer.handle, partition: head.partition, sequence: batch.baseSequence, error)
            return
        }
        if acknowledgement == .none {
            producer.hasUnanswered = true
        } else {
            producer.inFlight += 1
            bytesInFlight += batch.byteCount
            appendSizes.append(batch.byteCount)
        }
        gatewaySession?.storage.append(
            batch,
            to: PartitionID(topic: producer.topic.id, index: head.partition),
            options: AppendOptions(
                acknowledgement: acknowledgement,
                transaction: head.transaction.map { TransactionID(rawValue: $0) }
            ),
            token: Self.token(sequence: batch.baseSequence, partition: head.partition, place: place)
        )
    }

    private func check(_ batch: BatchView, _ producer: ProducerHandle, partition: UInt16) -> SluiceError? {
        guard Int(partition) < producer.topic.partitions else {
            return SluiceError(.invalidArgument, "the topic has \(producer.topic.partitions) partitions")
        }
        guard batch.producer == producer.producer, batch.producerEpoch == producer.epoch else {
            return SluiceError(.producerFenced, "the batch does not carry the producer id and epoch of its handle")
        }
        do throws(BatchError) { try batch.verify() } catch { return Self.error(error) }
        return checkNames(batch, producer)
    }

    static func error(_ error: BatchError) -> SluiceError {
        switch error {
        case .format(let format): SluiceError(.notSupported, "batch format \(format) is not known")
        case .attributes(let bits):
            SluiceError(.notSupported, "batch attributes 0x\(String(bits, radix: 16)) are not supported")
        case .length: SluiceError(.malformed, "the batch's lengths do not fit its records")
        case .checksum, .stampChecksum:
            SluiceError(.checksumMismatch, "the batch's data checksum does not fit its bytes")
        case .recordCount(let count):
            SluiceError(.malformed, "a batch of \(count) records; 1 to \(Limits.recordsPerBatch) are accepted")
        case .record(let index): SluiceError(.malformed, "record \(index) of the batch is malformed")
        }
    }

    /// Every front must be able to say the names: those other than the producer's own are checked.
    private func checkNames(_ batch: BatchView, _ producer: ProducerHandle) -> SluiceError? {
        let own = producer.routingKey ?? []
        let hasOwn = producer.routingKey != nil
        return own.withUnsafeBytes { own in
            // The last key that was found good: batches with one other name have it in every record.
            var known = own
            var knownIsAbsolute = producer.isAbsolute
            var hasKnown = hasOwn
            var cursor = batch.records
            while let record = cursor.next() {
                guard let key = record.routingKey else { continue }
                if hasKnown, record.hasAbsoluteName == knownIsAbsolute, bytesEqual(key, known) { continue }
                if let error = checkName(key, isAbsolute: record.hasAbsoluteName, topic: producer.topic) {
                    return error
                }
                known = key
                knownIsAbsolute = record.hasAbsoluteName
                hasKnown = true
            }
            return nil
        }
    }

    private func checkName(_ key: UnsafeRawBufferPointer, isAbsolute: Bool, topic: TopicInfo) -> SluiceError? {
        do throws(SluiceError) { try NameRules.checkName(key) } catch { return error }
        if isAbsolute {
            guard let holder = gatewaySession?.topic(holding: key), holder.id == topic.id else {
                return SluiceError(.invalidName, "a record's name does not belong to the topic '\(topic.name)'")
            }
        } else if topic.nameBytes.count + 1 + key.count > Limits.nameBytes {
            return SluiceError(.invalidName, "a name has at most \(Limits.nameBytes) bytes")
        }
        return nil
    }

    /// Says that a batch is not stored.
    private func refuseBatch(handle: UInt32, partition: UInt16, sequence: UInt32, _ error: SluiceError) {
        out.writeFrame(FrameHeader(.push, .produceAck, flags: .tail, handle: handle)) { buffer in
            ProduceAck(
                status: ResponseStatus(error.code),
                partition: partition,
                position: 0,
                runs: [ProduceAck.Run(firstSequence: sequence, count: 0, baseOffset: 0)]
            ).write(to: &buffer, version: acknowledgements.version)
            Tail.write(Tail.message, error.message, to: &buffer)
            if !error.hint.isEmpty { Tail.write(Tail.hint, error.hint, to: &buffer) }
        }
    }

    /// Answers a frame that is not let through: a batch that can be named by its acknowledgement, all else by the
    /// response.
    func refuse(_ frame: Frame, _ error: SluiceError) {
        if frame.header.opcode == .produce, let place = handles.place(frame.header.handle),
            case .producer(let producer)? = handles[place: place],
            let (head, batch) = ProduceHead.read(frame.body, flags: frame.header.flags)
        {
            refuseBatch(handle: producer.handle, partition: head.partition, sequence: batch.baseSequence, error)
        } else {
            respond(to: frame.header, error: error)
        }
    }

    func appendDone(token: UInt64, result: AppendResult) {
        let place = Int(token & 0xFFFF)
        let partition = UInt16(truncatingIfNeeded: token >> 16)
        let sequence = UInt32(truncatingIfNeeded: token >> 32)
        guard case .producer(let producer)? = handles[place: place] else { return }
        if producer.inFlight > 0 {
            producer.inFlight -= 1
            if let size = appendSizes.popFirst() { bytesInFlight -= size }
        }
        if let code = result.error {
            let title = code.rendering.title
            refuseBatch(handle: producer.handle, partition: partition, sequence: sequence, SluiceError(code, title))
        } else {
            acknowledgements.add(
                handle: producer.handle,
                partition: partition,
                firstSequence: sequence,
                count: result.recordCount,
                baseOffset: result.baseOffset,
                position: result.position,
                scheduled: result.scheduled.map {
                    WireScheduledID(position: $0.position.rawValue, record: $0.record)
                },
                to: &out
            )
        }
        if producer.isClosed, producer.inFlight == 0 { release(producer, place: place) }
    }

    // MARK: - Open and close

    func openProducer(_ frame: Frame) throws(SluiceError) {
        guard let session = gatewaySession else { return }
        let request = try frame.decode { OpenProducerRequest(&$0) }
        guard request.flags.isSubset(of: .known) else {
            throw SluiceError(.notSupported, "OPEN_PRODUCER flags \(request.flags.rawValue) are not known")
        }
        guard !handles.isFull else { throw SluiceError(.busy, "as many handles are open as may be") }
        let address = try session.resolve(request.address)
        if let name = address.name {
            let problem: SluiceError? = name.withUnsafeBytes { name in
                do throws(SluiceError) { try NameRules.checkName(name) } catch { return error }
                return nil
            }
            if let problem { throw problem }
        }
        let placement = address.placement
        let resolved = ResolvedProducer(
            topic: address.topic,
            routingKey: placement?.routingKey.flatMap { range in address.name.map { Array($0[range]) } },
            isAbsolute: placement?.isAbsolute ?? false
        )
        if request.flags.contains(.anonymous) {
            guard request.resume == 0 else {
                throw SluiceError(.invalidArgument, "an anonymous producer has nothing to resume")
            }
            answerOpenProducer(frame.header, resolved, ProducerReply(producer: .anonymous, epoch: 0, nextSequence: 0))
            return
        }
        try ask(
            .openProducer(
                ProducerRequest(
                    resume: request.resume == 0 ? nil : ProducerID(rawValue: request.resume),
                    partition: PartitionID(topic: address.topic.id, index: 0)
                )
            ),
            frame.header,
            .openProducer(resolved)
        )
    }

    func answerOpenProducer(_ header: FrameHeader, _ resolved: ResolvedProducer, _ reply: ProducerReply) {
        guard let handle = handles.insert(.retired), let place = handles.place(handle) else {
            respond(to: header, error: SluiceError(.busy, "as many handles are open as may be"))
            return
        }
        handles[place: place] = .producer(
            ProducerHandle(
                handle: handle,
                topic: resolved.topic,
                producer: reply.producer,
                epoch: reply.epoch,
                routingKey: resolved.routingKey,
                isAbsolute: resolved.isAbsolute
            )
        )
        let response = OpenProducerResponse(
            handle: handle,
            topic: resolved.topic.id.rawValue,
            producer: reply.producer.rawValue,
            epoch: reply.epoch,
            partitions: UInt16(truncatingIfNeeded: resolved.topic.partitions),
            nextSequence: reply.nextSequence,
            topicName: resolved.topic.name,
            hasRoutingKey: resolved.routingKey != nil,
            isAbsolute: resolved.isAbsolute,
            routingKey: resolved.routingKey ?? []
        )
        respond(to: header) { response.write(to: &$0) }
    }

    /// Nothing is taken from this producer any more; what storage has is still acknowledged.
    func closeProducer(_ frame: Frame) throws(SluiceError) {
        try frame.decode { _ in () }
        guard let place = handles.place(frame.header.handle), case .producer(let producer)? = handles[place: place],
            !producer.isClosed
        else { throw SluiceError(.notFound, "no producer has this handle") }
        producer.isClosed = true
        if producer.inFlight == 0 { release(producer, place: place) }
        respond(to: frame.header)
    }

    private func release(_ producer: ProducerHandle, place: Int) {
        if producer.hasUnanswered { handles[place: place] = .retired } else { handles.remove(place: place) }
    }
}
