internal import DequeModule
internal import MessageModel
internal import StorageService

/// Fetches: readers that ask once, and may wait for the first batch.
extension Shard {
    func fetch(session: UInt64, _ request: FetchRequest, token: UInt64, now: Timestamp) {
        guard let (topic, partition) = state.partition(request.partition), let slot = slot(session),
            topic.tenant == sessions[slot].tenant
        else {
            reply(session, token, .request(.failure(unknownTopic())))
            return
        }
        guard request.offset >= partition.firstOffset, request.offset <= partition.nextOffset else {
            let error = SluiceError(
                .offsetOutOfRange,
                "offset \(request.offset) is not in \(partition.firstOffset)...\(partition.nextOffset)",
                hint: "ask for the first or the next offset"
            )
            reply(session, token, .request(.failure(error)))
            return
        }
        let task = FetchTask(
            session: session,
            token: token,
            request: request,
            reader: SequenceReader(partition, offset: request.offset, owner: nil),
            deadline: now.advanced(byMicroseconds: request.waitMicroseconds),
            shard: self
        )
        waitingFetches[ObjectIdentifier(task)] = task
        fetchDeadline = min(fetchDeadline, task.deadline)
        enqueue(task)
    }

    package func cancel(session: UInt64, token: UInt64) {
        guard let task = waitingFetches.values.first(where: { $0.session == session && $0.token == token }) else {
            return
        }
        withdraw(task)
    }

    /// Forgets a fetch that is not to be answered any more.
    func withdraw(_ task: FetchTask) {
        task.isDone = true
        waitingFetches[ObjectIdentifier(task)] = nil
        task.reader.sequence.waiters.removeAll { $0 === task.reader }
        task.reader.owner = nil
    }

    func runFetches(now: Timestamp) {
        if now >= fetchDeadline {
            fetchDeadline = .never
            for task in waitingFetches.values {
                if now >= task.deadline { enqueue(task) } else { fetchDeadline = min(fetchDeadline, task.deadline) }
            }
        }
        for _ in 0..<readyFetches.count {
            guard let task = readyFetches.popFirst() else { return }
            task.isQueued = false
            if !task.isDone { pump(task, now: now) }
        }
    }

    private func pump(_ task: FetchTask, now: Timestamp) {
        let limit = min(task.request.maxBytes, Limits.batchBytes)
        while true {
            switch task.reader.next(log: log, requests: &coldRequests) {
            case .batch(let batch, let place):
                if !task.bytes.isEmpty, task.bytes.count + batch.byteCount > limit {
                    finish(task)
                    return
                }
                task.bytes.append(contentsOf: batch.bytes)
                task.reader.advance(behind: place)
                if task.bytes.count >= limit {
                    finish(task)
                    return
                }
            case .atEnd:
                if !task.bytes.isEmpty || now >= task.deadline || task.reader.sequence.isDeleted {
                    finish(task)
                } else if !task.reader.sequence.waiters.contains(where: { $0 === task.reader }) {
                    task.reader.sequence.waiters.append(task.reader)
                }
                return
            case .pending:
                if !task.bytes.isEmpty { finish(task) }
                return
            case .damaged(let range), .failed(let range):
                if task.bytes.isEmpty {
                    finish(task, .failure(damage(range, task.reader.sequence)))
                } else {
                    finish(task)
                }
                return
            }
        }
    }

    private func finish(_ task: FetchTask) {
        let partition = task.reader.sequence
        let answer = FetchReply(
            batches: task.bytes,
            firstOffset: partition.firstOffset,
            nextOffset: partition.visibleOffset
        )
        finish(task, .success(.fetched(answer)))
    }

    private func finish(_ task: FetchTask, _ result: Result<StorageReply, SluiceError>) {
        withdraw(task)
        reply(task.session, task.token, .request(result))
    }
}
