internal import DequeModule
package import MessageModel
internal import StorageService

extension Shard {
    /// Appends a verified batch, see `StorageSession.append`.
    package func append(
        session: UInt64,
        batch: BatchView,
        to id: PartitionID,
        acknowledgement: Acknowledgement,
        token: UInt64,
        now: Timestamp
    ) {
        guard let (topic, partition) = state.partition(id) else {
            reply(session, token, .append(AppendResult(error: .topicNotFound)))
            return
        }
        // One that waited for a segment was checked before, and is stored though its session may be closed.
        if let slot = slot(session), sessions[slot].tenant != topic.tenant {
            reply(session, token, .append(AppendResult(error: .topicNotFound)))
            return
        }
        guard deferred.isEmpty, hasOpened else {
            deferAppend(session, batch, id, acknowledgement, token)
            return
        }
        let payloadBytes = LogRecord.batchPrefixBytes + batch.byteCount
        guard batch.byteCount <= options.batchBytes, log.canHold(payloadBytes: payloadBytes) else {
            reply(session, token, .append(AppendResult(error: .tooLarge)))
            return
        }
        if batch.producer != .anonymous,
            answerKnown(batch, partition, session: session, token: token, acknowledgement)
        {
            return
        }
        let time = recordTime(now)
        let baseOffset = partition.nextOffset
        let epoch = log.epoch
        let position: UInt64
        do throws(CommitLog.AppendRefusal) {
            position = try log.append(.batch, payloadBytes: payloadBytes) { payload in
                payload.store32(id.topic.rawValue, at: 0)
                payload.store16(id.index, at: 4)
                payload.store16(0, at: 6)
                let stored = UnsafeMutableRawBufferPointer(rebasing: payload[LogRecord.batchPrefixBytes...])
                stored.copyMemory(from: batch.bytes)
                BatchView.stamp(stored, baseOffset: baseOffset, appendTime: time, epoch: epoch)
            }
        } catch {
            refuse(error, now: now) { code in
                reply(session, token, .append(AppendResult(error: code)))
            } deferring: {
                deferAppend(session, batch, id, acknowledgement, token)
            }
            return
        }
        stored(
            session: session,
            token: token,
            batch: batch,
            topic: topic,
            partition: partition,
            position: position,
            time: time,
            acknowledgement: acknowledgement
        )
    }

    /// The batch is in the log's memory: everything that follows from that.
    private func stored(
        session: UInt64,
        token: UInt64,
        batch: BatchView,
        topic: TopicState,
        partition: PartitionState,
        position: UInt64,
        time: Timestamp,
        acknowledgement: Acknowledgement
    ) {
        let baseOffset = partition.nextOffset
        let count = UInt32(batch.recordCount)
        state.applyStored(
            baseOffset: baseOffset,
            count: count,
            appendTime: time,
            batch: batch,
            in: partition,
            position: position,
            recordBytes: Int(log.end - position),
            segment: log.active.number
        )
        let routable = RoutableBatch(
            session: session,
            topic: topic,
            partition: partition,
            position: position,
            nextOffset: partition.nextOffset,
            isRouted: batch.attributes.contains(.atMostOnce)
        )
        if routable.isRouted { self.routable.append(routable) }
        let result = AppendResult(
            baseOffset: baseOffset,
            recordCount: count,
            position: LogPosition(rawValue: log.end)
        )
        unsettled.append(
            Unsettled(
                end: log.end,
                kind: .batch(
                    session: session,
                    token: token,
                    routable,
                    result,
                    acknowledges: acknowledgement == .durable
                )
            )
        )
        switch acknowledgement {
        case .none: break
        case .received:
            unwritten.append(
                Unsettled(
                    end: log.end,
                    kind: .batch(session: session, token: token, routable, result, acknowledges: true)
                )
            )
        case .durable: log.wantDurable()
        }
    }

    /// Answers a batch that must not be appended; false for a new one.
    private func answerKnown(
        _ batch: BatchView,
        _ partition: PartitionState,
        session: UInt64,
        token: UInt64,
        _ acknowledgement: Acknowledgement
    ) -> Bool {
        switch state.producers.judge(batch, partition: partition.id) {
        case .new:
            return false
        case .fenced:
            reply(session, token, .append(AppendResult(error: .producerFenced)))
        case .gap:
            reply(session, token, .append(AppendResult(error: .sequenceGap)))
        case .duplicate(let baseOffset):
            guard acknowledgement != .none else { return true }
            guard log.failure == nil else {
                reply(session, token, .append(AppendResult(error: .storageUnavailable)))
                return true
            }
            let result = AppendResult(
                baseOffset: baseOffset ?? .max,
                recordCount: UInt32(batch.recordCount),
                isDuplicate: true,
                position: LogPosition(rawValue: log.end)
            )
            // The first one may still be on its way to the disk: everything so far must be there before this is said.
            log.wantDurable()
            unsettled.append(Unsettled(end: log.end, kind: .duplicate(session: session, token: token, result)))
        }
        return true
    }

    private func deferAppend(
        _ session: UInt64,
        _ batch: BatchView,
        _ id: PartitionID,
        _ acknowledgement: Acknowledgement,
        _ token: UInt64
    ) {
        if log.failure != nil {
            reply(session, token, .append(AppendResult(error: .storageUnavailable)))
            return
        }
        guard deferredBytes + batch.byteCount <= options.deferredBytes else {
            reply(session, token, .append(AppendResult(error: .busy)))
            return
        }
        deferredBytes += batch.byteCount
        deferred.append(.append(session: session, Array(batch.bytes), id, acknowledgement, token: token))
    }

    /// Why the log took no record, as its caller hears it.
    func refuse(
        _ refusal: CommitLog.AppendRefusal,
        now: Timestamp,
        _ answer: (ErrorCode) -> Void,
        deferring: () -> Void
    ) {
        switch refusal {
        case .waitsForSegment:
            deferring()
        case .full:
            retryDeadline = retryDeadline ?? now.advanced(byMicroseconds: options.fullRetryMicroseconds)
            answer(.storageFull)
        case .failed:
            // Where only the next segment could not be made, it is tried again.
            if log.failure == nil {
                retryDeadline = retryDeadline ?? now.advanced(byMicroseconds: options.fullRetryMicroseconds)
            }
            answer(.storageUnavailable)
        }
    }
}
