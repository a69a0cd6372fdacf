package import NIOCore

// Messages from the client, their confirms, and transactions.
extension AMQPChannelStateMachine {
    /// A message is whole: judges what can be judged without knowing the exchanges.
    ///
    /// - Parameter bytes: what the positions are counted in.
    @inline(__always)
    mutating func finish(
        _ publish: BasicPublish,
        properties: Range<Int>,
        body: Range<Int>,
        of bytes: UnsafeRawBufferPointer,
        isAssembled: Bool
    ) throws(AMQPError) -> InboundPublish {
        guard !publish.isImmediate else {
            throw AMQPError(.notImplemented, "immediate=true", method: .basicPublish)
        }
        let view = PropertiesView(validated: UnsafeRawBufferPointer(rebasing: bytes[properties]))
        var inbound = InboundPublish(
            publish: publish,
            propertiesOffset: UInt32(truncatingIfNeeded: properties.lowerBound),
            propertiesLength: UInt32(truncatingIfNeeded: properties.count),
            bodyOffset: UInt32(truncatingIfNeeded: body.lowerBound),
            bodyLength: UInt32(truncatingIfNeeded: body.count),
            propertyFlags: view.flags,
            isAssembled: isAssembled,
            isTransactional: transaction != nil,
            wantsDirectReply: false,
            confirmTag: 0
        )
        if view.flags & Self.judgedProperties != 0 { try judge(view, &inbound) }
        if confirms != nil, let sequence = confirms?.append() { inbound.confirmTag = sequence }
        return inbound
    }

    private static let judgedProperties = BasicProperty.expiration.flag | BasicProperty.replyTo.flag

    private func judge(_ view: PropertiesView, _ inbound: inout InboundPublish) throws(AMQPError) {
        _ = try view.expirationMilliseconds()
        guard let replyTo = view.value(.replyTo),
            DirectReplyTo.name.withUTF8Buffer({ replyTo.elementsEqual($0) })
        else { return }
        guard replyConsumer != ConsumerTable.none else {
            throw AMQPError(.preconditionFailed, "fast reply consumer does not exist", method: .basicPublish)
        }
        inbound.wantsDirectReply = true
    }

    /// A message is where it is safe in all its queues, or in none because no queue wants it; or it was refused.
    /// Messages may be finished in any order; call `writeConfirms` after some of them.
    package mutating func finishPublish(_ confirmTag: UInt64, isRefused: Bool = false) {
        guard phase == .open else { return }
        confirms?.finish(confirmTag, isRefused: isRefused)
    }

    package mutating func finishPublishes(_ confirmTags: ClosedRange<UInt64>) {
        guard phase == .open, let first = confirms?.first, let next = confirms?.next, first < next else { return }
        for tag in confirmTags.clamped(to: first...next) { confirms?.finish(tag, isRefused: false) }
    }

    /// Appends basic.ack and basic.nack for what is finished; once for each tick.
    ///
    /// - Returns: how many messages they cover.
    @discardableResult
    package mutating func writeConfirms(into output: inout ByteBuffer) -> Int {
        guard phase == .open else { return 0 }
        return confirms?.write(channel: number, into: &output) ?? 0
    }

    mutating func receivedTransaction(
        _ method: ClientMethod,
        _ id: MethodID,
        _ environment: inout ChannelEnvironment,
        _ output: inout ByteBuffer
    ) throws(AMQPError) -> ChannelAction {
        if case .txSelect = method {
            guard confirms == nil else {
                throw AMQPError(.preconditionFailed, "cannot switch from confirm to tx mode", method: id)
            }
            if transaction == nil { transaction = Transaction() }
            write(.txSelectOk, &output)
            return .none
        }
        guard let open = transaction else {
            throw AMQPError(.preconditionFailed, "channel is not transactional", method: id)
        }
        transaction = Transaction()
        if case .txCommit = method {
            environment.settled.removeAll(keepingCapacity: true)
            environment.settled.append(contentsOf: open.settled)
            for delivery in open.settled { giveBackCredit(delivery.consumer) }
            return handOver(.commit, id, .commit)
        }
        // What was settled waits again; nothing is delivered a second time.
        unacknowledged.restore(open.settled)
        write(.txRollbackOk, &output)
        return .rollback
    }
}
