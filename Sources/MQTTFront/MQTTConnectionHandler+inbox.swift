internal import Gateway
internal import MQTTProtocol
internal import MessageModel
internal import NIOCore
internal import StorageService

// Messages that are leased to the client: those of its own inbox, and its part of those of groups.
extension MQTTConnectionHandler {
    /// Takes the place of the inbox's consumer, and goes on with QoS 2 exchanges that an earlier connection left.
    /// - Parameter confirmed: sequences of messages that the client has.
    func attachInbox(confirmed: [UInt64], _ session: GatewaySession, output: inout ByteBuffer) {
        guard let inbox else { return }
        for sequence in confirmed {
            inbox.resumed[sequence] = SessionInbox.Resumed()
            let token = DeliveryToken(attachment: SessionInbox.attachment, sequence: sequence, isExactlyOnce: true)
            machine.resumeRelease(inbox.identifier(of: sequence), token: token.rawValue, output: &output)
        }
        attach(to: inbox.name, as: SessionInbox.attachment)
    }

    /// Attaches a consumer with as much credit as the client's window has room.
    /// - Parameter used: messages of it that the client has not finished.
    func attach(to name: String, as attachment: UInt32, used: Int = 0) {
        let source = LeasedSource(messages: used)
        sources[attachment] = source
        if attachment == SessionInbox.attachment { inbox?.source = source }
        let request = AttachRequest(
            source: .consumer(of: name, .attachment),
            creditMessages: UInt64(max(0, machine.deliveryLimit - used)),
            creditBytes: UInt64(front.options.outgoingBufferBytes)
        )
        session?.storage.attach(request, attachment: attachment)
    }

    /// Most messages come from the inbox.
    private func source(_ attachment: UInt32) -> LeasedSource? {
        attachment == SessionInbox.attachment ? inbox?.source : sources[attachment]
    }

    func batchDelivered(_ delivery: BatchDelivery) {
        guard let lease = delivery.lease, isConnected, let session, let first = delivery.ranges.first else {
            return
        }
        let messages = delivery.ranges.reduce(0) { $0 + Int($1.last - $1.first) + 1 }
        // As the credit counts them.
        let bytes = max(1, delivery.batch.byteCount * messages / max(1, delivery.batch.recordCount))
        guard let source = source(delivery.attachment) else { return }
        source.messages += messages
        source.bytes += bytes
        let topicName = session.topics.name(of: delivery.partition.topic)
        var range = 0
        var cursor = delivery.batch.records
        var run = front.takeRun()
        defer { front.putRun(run) }
        while range < delivery.ranges.count, let record = cursor.next() {
            let index = UInt32(cursor.index - 1)
            guard index >= delivery.ranges[range].first else { continue }
            if index == delivery.ranges[range].last { range += 1 }
            let leased = Leased(
                attachment: delivery.attachment,
                sequence: lease.firstSequence + UInt64(index - first.first),
                isAgain: lease.attempt > 1
            )
            if goesWithOthers(record, leased) {
                if !run.continues(with: record, at: leased.sequence) {
                    topicName.withUnsafeBytes { send(&run, $0) }
                    run.begin(at: leased.sequence)
                }
                run.records.append(record)
                continue
            }
            topicName.withUnsafeBytes { send(&run, $0) }
            guard !topicName.isEmpty || record.hasAbsoluteName else {
                // What its topic was is damaged, and its name with it.
                settle(leased)
                continue
            }
            topicName.withUnsafeBytes { topicName in
                front.withName(of: record, topicName) { deliver(record, $0, leased) }
            }
        }
        topicName.withUnsafeBytes { send(&run, $0) }
    }

    /// Whether a message of the session's inbox is like most of them, so that it can be sent with others.
    private func goesWithOthers(_ record: RecordView, _ leased: Leased) -> Bool {
        guard leased.attachment == SessionInbox.attachment, let inbox, !leased.isAgain else { return false }
        return record.properties.isEmpty && record.hasAbsoluteName && record.deliveryClass != .atMostOnce
            && !usesTopicAliases && !filters.hasNoLocal && inbox.hasOnlyPlain
    }

    /// Sends messages that follow each other in the inbox, have one name and differ only in their payloads; those for which
    /// that cannot be done together, one by one.
    private func send(_ run: inout LeasedRun, _ topicName: UnsafeRawBufferPointer) {
        guard let first = run.records.first, let name = first.routingKey else { return }
        defer { run.records.removeAll(keepingCapacity: true) }
        var next = 0
        if waiting.isEmpty, let match = filters.match(name, isOwn: false), match.identifiers.isEmpty,
            match.qos != .atMostOnce
        {
            let qos = min(match.qos, first.qos)
            var output = takeOutput()
            next = machine.send(
                run.records.count,
                qos: qos,
                isRetained: first.isRetained && match.retainsAsPublished,
                topic: name,
                output: &output
            ) { index in
                let sequence = run.first + UInt64(index)
                let token = DeliveryToken(
                    attachment: SessionInbox.attachment,
                    sequence: sequence,
                    isExactlyOnce: qos == .exactlyOnce
                )
                return (token.rawValue, SessionInbox.identifier(of: sequence))
            } payload: {
                run.records[$0].body
            }
            putOutput(output)
            var payloadBytes = 0
            for record in run.records[..<next] { payloadBytes &+= record.body.count }
            front.counters.sent(messages: next, payloadBytes: payloadBytes)
        }
        while next < run.records.count, isConnected {
            let sequence = run.first + UInt64(next)
            let leased = Leased(attachment: SessionInbox.attachment, sequence: sequence, isAgain: false)
            deliver(run.records[next], name, leased)
            next += 1
        }
    }

    struct Leased {
        var attachment: UInt32
        var sequence: UInt64
        /// It was delivered before.
        var isAgain: Bool
    }

    private func deliver(_ record: RecordView, _ name: UnsafeRawBufferPointer, _ leased: Leased) {
        let isOwnInbox = leased.attachment == SessionInbox.attachment
        if isOwnInbox, let inbox, !inbox.resumed.isEmpty, var resumed = inbox.resumed[leased.sequence] {
            // The client has it, and answers its PUBREL.
            resumed.isLeased = true
            inbox.resumed[leased.sequence] = resumed
            if resumed.isFinished { finish(leased.sequence, of: inbox) }
            return
        }
        let found = match(record, name, leased, isOwnInbox: isOwnInbox)
        guard let match = found, let expiry = remainingSeconds(of: record, isOwnInbox && leased.isAgain) else {
            // The client does not want it any more, or nobody does.
            settle(leased)
            return
        }
        let qos = min(match.qos, record.qos)
        if qos == .exactlyOnce, !isOwnInbox {
            let isRetained = record.isRetained && match.retainsAsPublished
            return choose(record, name, match, leased, isRetained: isRetained, expiry: expiry)
        }
        let token = DeliveryToken(
            attachment: leased.attachment,
            sequence: leased.sequence,
            isExactlyOnce: qos == .exactlyOnce
        )
        let isSent = send(
            record,
            name,
            match,
            qos: qos,
            isRetained: record.isRetained
                && (match.retainsAsPublished || (isOwnInbox && inbox?.isRetained(leased.sequence) == true)),
            isDuplicate: leased.isAgain && qos != .atMostOnce,
            expiry: expiry,
            token: token,
            identifier: isOwnInbox ? inbox?.identifier(of: leased.sequence) ?? 0 : 0
        )
        if !isSent || qos == .atMostOnce { settle(leased) }
    }

    /// What was sent once is sent again, though it has expired [MQTT-4.3.3-7].
    private func remainingSeconds(of record: RecordView, _ wasSent: Bool) -> Expiry? {
        remainingSeconds(of: record) ?? (wasSent ? .seconds(0) : nil)
    }

    /// What the client's filters say of a message; nil where it does not want it any more.
    private func match(
        _ record: RecordView,
        _ name: UnsafeRawBufferPointer,
        _ leased: Leased,
        isOwnInbox: Bool
    ) -> FilterMatch? {
        guard isOwnInbox else { return groupMatch(leased.attachment) }
        if let inbox, !inbox.shared.isEmpty, let filter = inbox.shared[leased.sequence] { return sharedMatch(filter) }
        let isOwn = isOwn(record)
        if let match = filters.match(name, isOwn: isOwn) { return match }
        guard leased.isAgain, !isOwn else { return nil }
        // It was sent before the client unsubscribed, and its exchange is to be finished [MQTT-3.10.4-3].
        var match = FilterMatch()
        match.qos = record.qos
        return match
    }

    private func isOwn(_ record: RecordView) -> Bool {
        guard filters.hasNoLocal, let publisher = PropertyCursor.first(.publisher, in: record.properties) else {
            return false
        }
        return client.bytes.withUnsafeBytes { bytesEqual($0, publisher) }
    }

    func settle(_ leased: Leased) { settle(leased.attachment, leased.sequence) }

    // MARK: Acknowledgements

    /// The client has finished a message, or refused it, which is final as well.
    func acknowledged(_ token: DeliveryToken) {
        guard token.attachment != 0 else { return }
        if token.isExactlyOnce, token.attachment == SessionInbox.attachment, let inbox {
            if var resumed = inbox.resumed[token.sequence] {
                guard resumed.isLeased else {
                    // It has yet to be leased to be settled.
                    resumed.isFinished = true
                    inbox.resumed[token.sequence] = resumed
                    return
                }
            }
            finish(token.sequence, of: inbox)
            return
        }
        settle(token.attachment, token.sequence)
    }

    private func finish(_ sequence: UInt64, of inbox: SessionInbox) {
        if !inbox.resumed.isEmpty { inbox.resumed[sequence] = nil }
        settle(SessionInbox.attachment, sequence)
        inbox.changes.remove(SessionKey.confirmed(sequence))
    }

    /// The client has a QoS 2 message: PUBREL is sent when that cannot be forgotten.
    func confirmed(_ identifier: UInt16, _ token: DeliveryToken, output: inout ByteBuffer) {
        guard token.attachment == SessionInbox.attachment, let inbox else {
            machine.release(identifier, output: &output)
            return
        }
        inbox.changes.put(SessionKey.confirmed(token.sequence))
        inbox.transitions.confirmed.append(identifier)
    }

    /// The client has released a QoS 2 message of its own: PUBCOMP is sent when its identifier is forgotten for good.
    func released(_ identifier: UInt16) {
        guard let inbox else { return }
        inbox.changes.remove(SessionKey.received(identifier))
        inbox.transitions.released.append(identifier)
    }

    private func settle(_ attachment: UInt32, _ sequence: UInt64) {
        guard let source = source(attachment) else { return }
        if attachment == SessionInbox.attachment, let inbox {
            if !inbox.shared.isEmpty, let filter = inbox.shared[sequence] { returnCredit(filter) }
            inbox.finished(sequence)
        }
        if source.settled > 0, sequence == source.last + 1 {
            source.last = sequence
        } else {
            if source.settled > 0 { handOver(source, attachment) }
            source.first = sequence
            source.last = sequence
        }
        source.settled += 1
        source.unreturned += 1
        hasSettled = true
    }

    private func handOver(_ source: LeasedSource, _ attachment: UInt32) {
        session?.storage.settle(
            attachment: attachment,
            lane: 0,
            first: source.first,
            last: source.last,
            .accept,
            token: nil
        )
    }

    /// Hands over what was settled and what changed of the session since the last time, and gives credit back.
    func flushSettlements() {
        if hasSettled {
            hasSettled = false
            for (attachment, source) in sources where source.unreturned > 0 {
                if source.settled > 0 { handOver(source, attachment) }
                let messages = min(source.unreturned, source.messages)
                let bytes = messages == source.messages ? source.bytes : source.bytes * messages / source.messages
                session?.storage.grantCredit(attachment: attachment, messages: UInt64(messages), bytes: UInt64(bytes))
                source.messages -= messages
                source.bytes -= bytes
                source.settled = 0
                source.unreturned = 0
            }
        }
        guard let inbox, !inbox.changes.changes.isEmpty || !inbox.transitions.isEmpty else { return }
        var token: UInt64?
        if !inbox.transitions.isEmpty {
            let next = front.nextToken()
            inbox.waitingTransitions[next] = inbox.transitions
            inbox.transitions = SessionInbox.Transitions()
            token = next
        }
        session?.storage.putState(inbox.changes, token: token)
        inbox.changes.changes.removeAll(keepingCapacity: true)
    }

    /// Steps of QoS 2 are durable.
    /// - Returns: false where the token is not one of theirs.
    func transitionsCompleted(_ token: UInt64, _ result: Result<StorageReply, SluiceError>) -> Bool {
        guard let transitions = inbox?.waitingTransitions.removeValue(forKey: token) else { return false }
        if case .failure = result {
            end(.implementationSpecificError)
            return true
        }
        var output = takeOutput()
        for identifier in transitions.confirmed { machine.release(identifier, output: &output) }
        for identifier in transitions.released { machine.completeRelease(identifier, output: &output) }
        putOutput(output)
        resumeReadingIfPossible()
        return true
    }
}

extension RecordView {
    /// The quality that it was published with.
    var qos: QoS {
        switch deliveryClass {
        case .atMostOnce: .atMostOnce
        case .atLeastOnce: .atLeastOnce
        case .exactlyOnce: .exactlyOnce
        }
    }
}

extension QoS {
    var deliveryClass: DeliveryClass {
        switch self {
        case .atMostOnce: .atMostOnce
        case .atLeastOnce: .atLeastOnce
        case .exactlyOnce: .exactlyOnce
        }
    }
}
