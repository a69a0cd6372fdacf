package import MessageModel
internal import StorageEngine
package import StorageService

/// What the shard says.
extension RedriveSimulation: ShardOutput {
    package func warning(_ text: String) { note("warning: \(text)") }
    package func messageRouted(session: UInt64, _ message: RoutedMessage) {}
    package func consumerChanged(session: UInt64, attachment: UInt32, isActive: Bool) {}
    package func transactionNeedsResolution(session: UInt64, _ transaction: TransactionID, owner: String) {}

    package func attachmentEnded(session: UInt64, attachment: UInt32, error: SluiceError) {
        fail("attachment \(attachment) ended: \(error)")
    }

    package func batchDelivered(session: UInt64, _ delivery: BatchDelivery) {
        guard let lease = delivery.lease,
            let reader = readers.firstIndex(where: { $0.attachment == delivery.attachment })
        else { return fail("a batch was delivered to \(delivery.attachment), which is not attached") }
        let first = delivery.ranges.first.map { $0.first } ?? 0
        for range in delivery.ranges {
            for index in range.first...range.last {
                let place = Place(lane: lease.lane, sequence: lease.firstSequence + UInt64(index - first))
                readers[reader].delivered.insert(place)
                toSettle.append(Delivered(reader: reader, attachment: delivery.attachment, place: place))
            }
        }
    }

    package func appendCompleted(session: UInt64, token: UInt64, result: AppendResult) {
        guard case .publication(let first, let count)? = pending.removeValue(forKey: token) else { return }
        note("append \(token): \(result.error.map { "\($0)" } ?? "at \(result.baseOffset)")")
        guard result.error == nil else { return }
        for message in first..<first + count { messages[message].isDurable = true }
    }

    package func requestCompleted(session: UInt64, token: UInt64, result: Result<StorageReply, SluiceError>) {
        guard let request = pending.removeValue(forKey: token) else {
            return fail("request \(token) was answered twice, or was never made")
        }
        switch request {
        case .publication: break
        case .look: answers[token] = result
        case .topic(let topic):
            note("request \(token) answered: \(result)")
            if case .success(.topicCreated(let created, _)) = result { topics[topic].id = created.id }
        case .redrive(let request):
            note("request \(token) answered: \(result)")
            redriven(request, result)
        }
    }

    private func redriven(_ request: RedriveRequest, _ result: Result<StorageReply, SluiceError>) {
        switch result {
        case .success(.redriven(let count)):
            check(request.limit == 0 || count <= request.limit, "\(count) letters were sent, beyond \(request.limit)")
            counted = counted.map { $0 + Int(count) }
        case .success: fail("a redrive was answered wrongly")
        case .failure(let error):
            switch error.code {
            case .busy: break
            case .storageFull, .storageUnavailable, .indeterminate:
                check(
                    faults.wasFull || faults.hasFailedLog || faults.hasFailedSync || faults.failsReads,
                    "without a reason: \(error)"
                )
                counted = nil
            default: fail("a redrive was refused: \(error)")
            }
        }
    }
}
