internal import DequeModule
internal import Gateway
internal import MQTTProtocol
internal import MessageModel
internal import NIOCore
internal import StorageService

/// Messages of a group that follow each other and that this client is to get with QoS 2. They are its own before they are
/// sent: nobody else ever gets them, also where it goes before it has answered [MQTT-4.8.2-4] [MQTT-4.8.2-5].
struct ChosenMessages {
    let attachment: UInt32
    var sequences: ClosedRange<UInt64>
    /// Of a client without a stored session: what is sent once the group has let them go for good.
    var packets: [WaitingPublish] = []
}

extension MQTTConnectionHandler {
    /// A message of a group is for this client, with QoS 2.
    func choose(
        _ record: RecordView,
        _ name: UnsafeRawBufferPointer,
        _ match: FilterMatch,
        _ leased: Leased,
        isRetained: Bool,
        expiry: Expiry
    ) {
        if let chosen,
            chosen.attachment != leased.attachment || leased.sequence != chosen.sequences.upperBound + 1
                || chosen.sequences.count >= HandOver.maxMessages
        {
            flushChosen()
        }
        var packet: WaitingPublish?
        if inbox == nil {
            let token = DeliveryToken(
                attachment: leased.attachment,
                sequence: leased.sequence,
                isExactlyOnce: true
            )
            packet = withPacket(
                record,
                name,
                match,
                qos: .exactlyOnce,
                isRetained: isRetained,
                isDuplicate: false,
                expiry: expiry
            ) { keep($0, token: token, identifier: 0) }
            guard packet != nil else { return settle(leased) }
        }
        if chosen == nil {
            let sequences = leased.sequence...leased.sequence
            chosen = ChosenMessages(attachment: leased.attachment, sequences: sequences)
        } else if let first = chosen?.sequences.lowerBound {
            chosen?.sequences = first...leased.sequence
        }
        if let packet { chosen?.packets.append(packet) }
    }

    /// Makes chosen messages the client's own: those of a stored session go to its inbox, and come back from there as
    /// everything else does; for others the group is done with them before they are sent.
    func flushChosen() {
        guard let chosen else { return }
        self.chosen = nil
        guard let inbox else { return settleChosen(chosen) }
        guard
            let filter = filters.all.first(where: { $0.subscription.attachment == chosen.attachment })?.id
        else { return }
        let request = HandOver(
            attachment: chosen.attachment,
            lane: 0,
            first: chosen.sequences.lowerBound,
            last: chosen.sequences.upperBound,
            inbox: inbox.name,
            key: SessionKey.shared(0),
            value: withUnsafeBytes(of: filter.littleEndian) { Array($0) }
        )
        ask(.handOver(request)) { result in
            guard self.inbox === inbox, !self.hasEnded else { return }
            guard case .success(.queued(let first, let count, _)) = result else {
                return self.release(chosen, filter, result)
            }
            for sequence in first..<first + UInt64(count) { inbox.shared[sequence] = filter }
            self.returnCredit(filter, messages: chosen.sequences.count - count)
        }
    }

    /// Messages could not be made the client's own. Where there is no room for that now, they are tried again later, with
    /// this member or another.
    private func release(_ chosen: ChosenMessages, _ filter: UInt32, _ result: Result<StorageReply, SluiceError>) {
        guard case .failure(let error) = result, [.storageFull, .storageUnavailable, .busy].contains(error.code) else {
            return end(.implementationSpecificError)
        }
        session?.storage.settle(
            attachment: chosen.attachment,
            lane: 0,
            first: chosen.sequences.lowerBound,
            last: chosen.sequences.upperBound,
            .release(delayMicroseconds: MQTTFrontOptions.chosenAgainMicroseconds, countsAttempt: false),
            token: nil
        )
        returnCredit(filter, messages: chosen.sequences.count)
    }

    private func settleChosen(_ chosen: ChosenMessages) {
        let token = front.nextToken()
        requests[token] = { result in
            guard !self.hasEnded else { return }
            guard case .success = result else { return self.end(.implementationSpecificError) }
            for packet in chosen.packets {
                self.waitingBytes += packet.encoded.packetSize
                self.waiting.append(packet)
            }
            var output = self.takeOutput()
            self.sendWaiting(output: &output)
            self.putOutput(output)
        }
        session?.storage.settle(
            attachment: chosen.attachment,
            lane: 0,
            first: chosen.sequences.lowerBound,
            last: chosen.sequences.upperBound,
            .accept,
            token: token
        )
    }

    /// What a message that came from a group is sent with: it stays QoS 2, whatever has become of the filter.
    func sharedMatch(_ filter: UInt32) -> FilterMatch {
        var match = FilterMatch()
        if let subscription = filters[filter], subscription.filter.isShared { match.add(subscription) }
        match.qos = .exactlyOnce
        return match
    }

    /// Messages that came from a group are done: it may send as many more.
    func returnCredit(_ filter: UInt32, messages: Int = 1) {
        guard messages > 0, let attachment = filters[filter]?.attachment, let source = sources[attachment] else {
            return
        }
        source.unreturned += messages
        hasSettled = true
    }
}

extension SessionInbox {
    /// Messages that came by a group's filter and are not finished.
    func sharedCount(_ filter: UInt32) -> Int { shared.values.count { $0 == filter } }

    /// The client unsubscribed: its number may become that of another filter.
    func forgetFilter(_ filter: UInt32) {
        for (sequence, number) in shared where number == filter {
            shared[sequence] = Self.noFilter
            changes.put(SessionKey.shared(sequence), withUnsafeBytes(of: Self.noFilter.littleEndian) { Array($0) })
        }
    }
}
