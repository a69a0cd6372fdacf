package import MessageModel
package import StorageEngine
package import StorageService

/// What the shard says.
extension SessionSimulation: ShardOutput {
    package func warning(_ text: String) { note("warning: \(text)") }
    package func messageRouted(session: UInt64, _ message: RoutedMessage) {}
    package func consumerChanged(session: UInt64, attachment: UInt32, isActive: Bool) {}
    package func transactionNeedsResolution(session: UInt64, _ transaction: TransactionID, owner: String) {}

    package func attachmentEnded(session: UInt64, attachment: UInt32, error: SluiceError) {
        fail("attachment \(session)/\(attachment) ended: \(error)")
    }

    package func batchDelivered(session: UInt64, _ delivery: BatchDelivery) {
        guard let lease = delivery.lease, let first = delivery.ranges.first,
            let client = connections.first(where: { $0.value.session == session })?.key
        else { return fail("a batch was delivered to \(session), which is gone") }
        guard delivery.attachment == Self.own else {
            // Ranges with gaps come where messages between them are leased or done.
            for range in delivery.ranges {
                let start = lease.firstSequence + UInt64(range.first - first.first)
                let sequences = start...start + UInt64(range.last - range.first)
                later.append { [self] in handOver(sequences, client) }
            }
            return
        }
        var cursor = delivery.batch.records
        while let record = cursor.next() {
            let index = UInt32(cursor.index - 1)
            guard delivery.ranges.contains(where: { $0.first <= index && index <= $0.last }) else { continue }
            guard let message = MessageText.batch(of: record.body), message < messages.count else {
                return fail("client \(client) was given a message that nobody sent")
            }
            let sequence = lease.firstSequence + UInt64(index - first.first)
            let isRetained = record.isRetained
            later.append { [self] in deliver(sequence, message, isRetained: isRetained, client) }
        }
    }

    package func appendCompleted(session: UInt64, token: UInt64, result: AppendResult) {
        guard case .store(let client, let identifier)? = pending.removeValue(forKey: token) else { return }
        note("append \(token): \(result.error.map { "\($0)" } ?? "at \(result.baseOffset)")")
        if let error = result.error {
            return later.append { [self] in refused(client, .failure(SluiceError(error, "not stored"))) }
        }
        states[client][Key.received.number(identifier)] = .certain
        connections[client]?.toClient.append(.pubrec(identifier))
    }

    package func requestCompleted(session: UInt64, token: UInt64, result: Result<StorageReply, SluiceError>) {
        guard let request = pending.removeValue(forKey: token) else {
            return fail("request \(token) was answered twice, or was never made")
        }
        if case .failure(let error) = result { note("request \(token) failed: \(error)") }
        if case .look = request {
            answers[token] = result
        } else {
            later.append { [self] in answered(request, result) }
        }
    }

    private func answered(_ request: Pending, _ result: Result<StorageReply, SluiceError>) {
        switch request {
        case .look: break
        case .open(let client): opened(client, result)
        case .store: fail("an append was answered as a request")
        case .confirm(let client, let sequence):
            guard case .success = result else { return refused(client, result) }
            states[client][Key.confirmed.number(sequence)] = .certain
            connections[client]?.toClient.append(.pubrel(sequence))
        case .forget(let client, let identifier):
            guard case .success = result else { return refused(client, result) }
            states[client][Key.received.number(identifier)] = nil
            connections[client]?.received.remove(identifier)
            connections[client]?.toClient.append(.pubcomp(identifier))
        case .handOver(let client, let count):
            guard case .success(.queued(let first, let moved, nil)) = result else { return refused(client, result) }
            check(moved == count, "\(moved) of \(count) messages were handed over to \(client)")
            report.handedOver += moved
            for sequence in first..<first + UInt64(moved) {
                connections[client]?.shared.insert(sequence)
                states[client][Key.shared.number(sequence)] = .certain
            }
        case .queue(let client):
            guard case .success(.queued(_, let count, _)) = result else { return refused(client, result) }
            report.queued += count
        }
    }
}
