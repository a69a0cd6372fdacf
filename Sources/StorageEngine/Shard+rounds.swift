internal import DequeModule
package import MessageModel
internal import StorageService

extension Shard {
    /// Does everything that came together since the last round: writes, syncs, reports, delivers.
    /// - Returns: whether another round should follow at once, because something was left for fairness.
    package func runRound(now: Timestamp, output: any ShardOutput) -> Bool {
        clock = max(clock, now)
        openEpoch(now: now)
        replayDeferred(now: now)
        if !snapshotWork.isSealed {
            runTimers(now: now, output: output)
            publishDue(now: now)
            runRecordFetches()
            runDead(now: now, output: output)
            runRedrives(now: now)
            compactPartitions(now: now)
        }
        routeUndurable(output: output)
        writeJournal(now: now)
        flush(now: now)
        reportFailure(output: output)
        reportRetainedRefusals(output: output)
        acknowledgeWritten(output: output)
        settle(output: output)
        emitOutbox(output: output)
        deliver(output: output)
        if !snapshotWork.isSealed { dispatch(now: now, output: output) }
        runSearches()
        runFetches(now: now)
        advanceSnapshots(now: now, output: output)
        advanceReclaiming(now: now, output: output)
        watchDisk(now: now, output: output)
        emitOutbox(output: output)
        issueColdReads()
        log.trimCache(settled: unsettled.first.map { min($0.end, log.durable) } ?? log.durable)
        return !readyAttachments.isEmpty || !readyFetches.isEmpty || !readySearches.isEmpty || !outbox.isEmpty
            || !routable.isEmpty || !readySubscriptions.isEmpty || !readyFetchesOfRecords.isEmpty
            || !readyDead.isEmpty || !readyRedrives.isEmpty || snapshotWork.keys != nil || log.needsFlush
            || reclaiming.hasMore
    }

    /// Writes the first record of this epoch. Until it is durable the shard is not ready: only then is it known that
    /// everything that recovery found is durable as well.
    private func openEpoch(now: Timestamp) {
        guard !hasOpened else { return }
        let time = recordTime(now)
        do throws(CommitLog.AppendRefusal) {
            _ = try log.append(.opened, payloadBytes: 8) { $0.store64(time.rawValue, at: 0) }
        } catch {
            // A segment that is being made needs no deadline; one that was refused is asked for again.
            if case .waitsForSegment = error { return }
            retryDeadline = retryDeadline ?? now.advanced(byMicroseconds: options.fullRetryMicroseconds)
            return
        }
        hasOpened = true
        canReplay = true
        state.epoch = log.epoch
        log.wantDurable()
        unsettled.append(Unsettled(end: log.end, kind: .opened))
    }

    private func replayDeferred(now: Timestamp) {
        if let deadline = retryDeadline, now >= deadline {
            retryDeadline = nil
            log.retrySegment()
        }
        guard canReplay else { return }
        canReplay = false
        wakeDead()
        let waiting = deferred
        deferred = []
        deferredBytes = 0
        for item in waiting {
            switch item {
            case .append(let session, let bytes, let partition, let options, let token):
                bytes.withUnsafeBytes { bytes in
                    guard let batch = BatchView(prefixOf: bytes) else { return }
                    append(
                        session: session,
                        batch: batch,
                        to: partition,
                        options: options,
                        token: token,
                        now: now
                    )
                }
            case .request(let session, let request, let token):
                perform(session: session, request, token: token, now: now)
            }
        }
    }

    private func flush(now: Timestamp) {
        if log.unsyncedBytes > 0, log.failure == nil {
            if log.unsyncedBytes >= UInt64(options.lazySyncBytes) || lazyDeadline.map({ now >= $0 }) == true {
                log.wantDurable()
                lazyDeadline = nil
            } else if lazyDeadline == nil {
                lazyDeadline = now.advanced(byMicroseconds: options.lazySyncMicroseconds)
            }
        } else {
            lazyDeadline = nil
        }
        log.flush(writesNow: !unwritten.isEmpty, now: now)
    }

    /// After a failed write or sync nothing more is stored, and what was on its way may or may not be.
    private func reportFailure(output: any ShardOutput) {
        guard let failure = log.failure else { return }
        if !hasReportedFailure {
            hasReportedFailure = true
            lazyDeadline = nil
            output.warning("the log takes no more writes: \(failure.description)")
        }
        // What has been written and synced before has been.
        acknowledgeWritten(output: output)
        settle(output: output)
        guard !unwritten.isEmpty || !unsettled.isEmpty || !deferred.isEmpty || !journalWaiters.isEmpty else { return }
        let error = SluiceError(
            .indeterminate,
            "the log failed while this was being stored: \(failure.description)",
            hint: "it may be there after a restart of the server"
        )
        while let item = unwritten.popFirst() { fail(item, error) }
        while let item = unsettled.popFirst() { fail(item, error) }
        growth.removeAll()
        for waiting in journalWaiters { reply(waiting.session, waiting.token, .request(.failure(error))) }
        journalWaiters = []
        while let item = deferred.popFirst() {
            switch item {
            case .append(let session, _, _, _, let token):
                reply(session, token, .append(AppendResult(error: .storageUnavailable)))
            case .request(let session, _, let token):
                reply(session, token, .request(.failure(unavailable(failure))))
            }
        }
    }

    /// The device did not give what was asked for.
    func unreadable() -> SluiceError {
        SluiceError(.storageUnavailable, "the disk could not be read", hint: "try again; see the server's log")
    }

    func unavailable(_ failure: DeviceError) -> SluiceError {
        SluiceError(
            .storageUnavailable,
            "the log takes no more writes: \(failure.description)",
            hint: "check the disk and restart the server"
        )
    }

    private func fail(_ item: Unsettled, _ error: SluiceError) {
        switch item.kind {
        case .batch(let session, let token, _, _, let acknowledges):
            if acknowledges { reply(session, token, .append(AppendResult(error: error.code))) }
        case .answered(let session, let token, _):
            reply(session, token, .append(AppendResult(error: error.code)))
        case .reply(let waiting):
            reply(waiting.session, waiting.token, .request(.failure(error)))
        case .published, .opened:
            break
        }
    }

    func reply(_ session: UInt64, _ token: UInt64, _ kind: Reply.Kind) {
        outbox.append(Reply(session: session, token: token, kind: kind))
    }

    private func acknowledgeWritten(output: any ShardOutput) {
        while let first = unwritten.first, first.end <= log.written {
            unwritten.removeFirst()
            if case .batch(let session, let token, _, let result, _) = first.kind, slot(session) != nil {
                output.appendCompleted(session: session, token: token, result: result)
            }
        }
    }

    /// Reports what has become durable, and shows it to readers.
    private func settle(output: any ShardOutput) {
        while let first = growth.first, first.end <= log.durable {
            growth.removeFirst()
            first.sequence.visibleOffset = first.nextOffset
            if let inbox = first.sequence.inbox {
                grew(inbox, lane: first.sequence.id.index)
            } else {
                wakeReaders(of: first.sequence)
            }
        }
        while let first = unsettled.first, first.end <= log.durable {
            unsettled.removeFirst()
            switch first.kind {
            case .batch(let session, let token, let batch, let result, let acknowledges):
                if acknowledges, slot(session) != nil {
                    output.appendCompleted(session: session, token: token, result: result)
                }
                if !batch.isRouted { route(batch, output: output) }
            case .answered(let session, let token, let result):
                if slot(session) != nil { output.appendCompleted(session: session, token: token, result: result) }
            case .published(let batches):
                for batch in batches { route(batch, output: output) }
            case .reply(let waiting):
                outbox.append(waiting)
            case .opened:
                isReady = true
                for subscription in state.subscriptions.values { prepare(subscription, now: state.lastTime) }
                for id in state.transactions.keys { arm(id) }
                resumeRedrives()
                armTopics(now: state.lastTime)
            }
        }
    }

    private func emitOutbox(output: any ShardOutput) {
        guard !outbox.isEmpty else { return }
        let replies = outbox
        outbox.removeAll(keepingCapacity: true)
        for reply in replies where slot(reply.session) != nil {
            switch reply.kind {
            case .append(let result):
                output.appendCompleted(session: reply.session, token: reply.token, result: result)
            case .request(let result):
                output.requestCompleted(session: reply.session, token: reply.token, result: result)
            case .attachmentEnded(let attachment, let error):
                output.attachmentEnded(session: reply.session, attachment: attachment, error: error)
            case .consumerChanged(let attachment, let isActive):
                output.consumerChanged(session: reply.session, attachment: attachment, isActive: isActive)
            case .transactionNeedsResolution(let transaction, let owner):
                output.transactionNeedsResolution(session: reply.session, transaction, owner: owner)
            }
        }
    }

    private func issueColdReads() {
        for request in coldRequests.take() {
            let token = takeToken()
            coldReads[token] = (request.client, request.source)
            switch request.source {
            case .log(let segment):
                device.read(segment: segment, offset: request.offset, length: request.length, token: token)
            case .index(let segment, let epoch):
                device.readFile(
                    IndexFile.name(segment: segment, epoch: epoch),
                    offset: request.offset,
                    length: request.length,
                    token: token
                )
            case .keys(let segment, let epoch):
                device.readFile(
                    KeyFile.name(segment: segment, epoch: epoch),
                    offset: request.offset,
                    length: request.length,
                    token: token
                )
            }
        }
    }
}
