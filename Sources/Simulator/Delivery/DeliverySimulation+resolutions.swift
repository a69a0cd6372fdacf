package import MessageModel
internal import StorageEngine
package import StorageService

/// What becomes of transactions and schedules, as the shard answers.
extension DeliverySimulation {
    func begun(_ index: Int, _ result: Result<StorageReply, SluiceError>) {
        switch result {
        case .success(.transaction(let id)):
            model.check(!model.transactions.contains { $0.id == id }, "a transaction has the number of another")
            model.transactions[index].id = id
            model.transactions[index].state = .open
        case .success: model.fail("beginning a transaction was answered wrongly")
        case .failure(let error):
            checkRefusal(error)
            model.transactions[index].state = .ended
        }
    }

    func staged(
        _ index: Int,
        _ staged: [(held: Held, expected: Bool?)],
        _ result: Result<StorageReply, SluiceError>
    ) {
        model.transactions[index].pending -= 1
        switch result {
        case .success(.settled(let codes)):
            for (code, item) in zip(codes, staged) {
                if let expected = item.expected {
                    model.check((code == nil) == expected, "a staged receipt was judged otherwise than it should be")
                }
                guard code == nil else { continue }
                model.transactions[index].staged.append((item.held.subscription, item.held.message, item.held.lease))
            }
        case .success: model.fail("staging was answered wrongly")
        case .failure(let error):
            checkRefusal(error, allows: mayBeAbandoned(model.transactions[index]) ? [.notFound] : [])
            if error.code == .indeterminate { model.transactions[index].isUncertain = true }
        }
    }

    func committed(_ index: Int, _ request: Pending, _ result: Result<StorageReply, SluiceError>) {
        let known = model.transactions[index]
        for staged in known.staged {
            model.subscriptions[staged.subscription].entries[staged.message]?.isStaged = false
        }
        switch result {
        case .success:
            report.commits += 1
            model.transactions[index].state = .committed
            model.transactions[index].committedAt = model.stamp
            model.journalIsDurable(before: request.moment)
            let moment = model.moment()
            // What was for a topic that is deleted is seen by nobody, or by inboxes that got it before.
            for batch in known.batches
            where model.batches[batch].fate == .durable && model.topics[model.batches[batch].topic].isUsable {
                for message in model.batches[batch].messages {
                    model.messages[message].routedTo = min(model.messages[message].routedTo, moment.serial)
                    model.messages[message].seenAt = min(model.messages[message].seenAt, model.stamp)
                    model.becameVisible(message)
                }
            }
            var settled = Set<[Int]>()
            // One may have been named more than once.
            for staged in known.staged where settled.insert([staged.subscription, staged.message]).inserted {
                let subscription = model.subscriptions[staged.subscription]
                guard var entry = subscription.entries[staged.message], subscription.isUsable else { continue }
                if entry.isVague {
                    guard !subscription.isVague, entry.generation == 0 else { continue }
                    entry.state = .done
                    entry.done = request.moment
                    entry.isVague = false
                    subscription.entries[staged.message] = entry
                    continue
                }
                let isRight: Bool
                switch entry.state {
                // Where a crash took the records of later leases, an earlier one is the last that is known.
                case .leased, .waiting, .delayed: isRight = entry.lease == staged.lease || entry.mayHaveLostLease
                case .done, .dying: isRight = false
                }
                // Between its effect and the answer its policy or a seek may have come.
                model.check(
                    isRight || subscription.isVague,
                    "a commit settled \(model.text(staged.message)) in \(subscription.name), which another has"
                )
                entry.state = .done
                entry.isAccepted = true
                entry.done = request.moment
                subscription.entries[staged.message] = entry
            }
        case .failure(let error):
            let wasRefused = checkRefusal(
                error,
                allows: [.leaseLost, .quotaExceeded] + (mayBeAbandoned(known) ? [.notFound] : [])
            )
            if error.code == .leaseLost {
                model.check(!known.staged.isEmpty, "a transaction without settlements lost a lease")
            }
            if wasRefused {
                model.transactions[index].state = error.code == .notFound ? .ended : .open
                if error.code == .notFound { model.transactions[index].rolledBackAt = model.stamp }
                model.transactions[index].commitSubmitted = nil
            } else {
                model.transactions[index].isUncertain = true
                for staged in known.staged {
                    model.subscriptions[staged.subscription].entries[staged.message]?.isVague = true
                }
            }
        }
    }

    func rolledBack(_ index: Int, _ result: Result<StorageReply, SluiceError>) {
        switch result {
        case .success:
            report.rollBacks += 1
            model.transactions[index].state = .ended
            model.transactions[index].rolledBackAt = model.stamp
        case .failure(let error):
            let known = model.transactions[index]
            if checkRefusal(error, allows: mayBeAbandoned(known) ? [.notFound] : []) {
                model.transactions[index].state = error.code == .notFound ? .ended : .open
            } else {
                model.transactions[index].isUncertain = true
            }
        }
    }

    func cancelled(_ message: Int, _ result: Result<StorageReply, SluiceError>) {
        switch result {
        case .success:
            report.withdrawn += 1
            model.check(!model.messages[message].isSeen, "\(model.text(message)) was withdrawn after it was seen")
            model.messages[message].isWithdrawn = true
        case .failure(let error):
            guard checkRefusal(error, allows: [.notFound]), error.code == .notFound else { return }
            let isDue = model.messages[message].due.map { $0 <= model.now } ?? true
            let topicIsGone = !model.topics[model.batches[model.messages[message].batch].topic].isUsable
            model.check(
                isDue || model.messages[message].isWithdrawn || model.messages[message].isSeen || topicIsGone,
                "\(model.text(message)) is not known under its number, and waits"
            )
        }
    }
}
