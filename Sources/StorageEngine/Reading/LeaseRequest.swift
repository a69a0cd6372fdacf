internal import DequeModule
internal import MessageModel
internal import StorageService

/// What a getter asked for, see `StorageRequest.lease`.
struct LeaseRequest {
    let attachment: Attachment
    let token: UInt64
    /// Messages that it may still get, and those that it got.
    var left: Int64
    var count: Int64 = 0
}

extension Shard {
    func lease(
        _ id: UInt32,
        _ maxMessages: Int,
        _ session: UInt64,
        _ token: UInt64,
        _ now: Timestamp
    ) throws(Refusal) {
        guard let slot = slot(session), let attachment = sessions[slot].attachments[id],
            let subscription = attachment.subscription
        else { throw .error(SluiceError(.notFound, "nobody is attached as \(id)")) }
        guard attachment.isGetter else {
            throw .error(
                SluiceError(
                    .invalidArgument,
                    "attachment \(id) gets its messages with credit",
                    hint: "attach as a getter"
                )
            )
        }
        // Who asks uses it, as a consumer does. Not each time: it is a record of the log.
        if let since = subscription.unusedSince,
            now.rawValue - min(now.rawValue, since.rawValue) > subscription.policy.expiresUnusedMicroseconds / 16
        {
            note(.used, subscription)
            becameUnused(subscription, now: now)
        }
        subscription.leaseRequests.append(
            LeaseRequest(attachment: attachment, token: token, left: Int64(max(0, maxMessages)))
        )
        enqueue(subscription)
    }

    /// Leases what is ready to those who asked, one after the other. One that waits for the device holds up those behind it.
    func serveLeaseRequests(of subscription: Subscription, now: Timestamp, output: any ShardOutput) {
        var budget = options.deliveryBytesPerRound
        var passes = 1_000
        while var request = subscription.leaseRequests.first {
            let attachment = request.attachment
            var hasFailed = false
            serving: while request.left > 0, !subscription.isPaused, !attachment.isStopped {
                guard budget > 0, passes > 0 else {
                    enqueue(subscription)
                    return
                }
                attachment.setCredit(messages: request.left, bytes: .max)
                defer { attachment.setCredit(messages: 0, bytes: 0) }
                switch deliverNext(of: subscription, to: attachment, now: now, output: output) {
                case .delivered(let bytes):
                    budget -= bytes
                    request.count += request.left - attachment.creditMessages
                    request.left = attachment.creditMessages
                    subscription.leaseRequests[0] = request
                case .passed:
                    passes -= 1
                case .waits:
                    return
                case .failed:
                    hasFailed = true
                    break serving
                case .nothing:
                    break serving
                }
            }
            subscription.leaseRequests.removeFirst()
            if hasFailed, request.count == 0 {
                reply(attachment.session, request.token, .request(.failure(unreadable())))
            } else {
                let reply = StorageReply.leased(count: Int(request.count), remaining: subscription.leasable)
                answer(attachment.session, request.token, reply)
            }
        }
    }

    /// An attachment ended: what it asked for is not answered with messages any more.
    func refuseLeaseRequests(of attachment: Attachment) {
        guard attachment.isGetter, let subscription = attachment.subscription else { return }
        for request in subscription.leaseRequests where request.attachment === attachment {
            let error = SluiceError(.notFound, "attachment \(attachment.id) has ended")
            reply(attachment.session, request.token, .request(.failure(error)))
        }
        subscription.leaseRequests.removeAll { $0.attachment === attachment }
    }
}

extension Subscription {
    /// Messages that readers may see, and that are neither done nor leased nor wait for a delay.
    fileprivate var leasable: UInt64 {
        lanes.reduce(0) { sum, lane in
            guard let lane else { return sum }
            let delivery = lane.delivery
            let held = delivery.leasedCount + delivery.dying.count + UInt64(delivery.delayed.count)
            return sum + (lane.backlog > held ? lane.backlog - held : 0)
        }
    }
}
