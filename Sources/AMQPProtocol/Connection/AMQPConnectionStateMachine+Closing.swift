package import NIOCore

// The ways in which channels and connections end.
extension AMQPConnectionStateMachine {
    /// Refuses what a channel asked for, or ends it for a reason of the server; errors of the connection end that. Where
    /// a method waits for its answer, it is blamed.
    package mutating func fail(
        channel number: UInt16,
        _ error: AMQPError,
        output: inout ByteBuffer
    ) -> AMQPAction {
        let index = channels.find(number)
        let blamed = error.blaming(index.flatMap { channels.slots[$0]?.pendingMethod })
        guard !blamed.closesConnection, number != 0 else { return fail(blamed, &output) }
        // A channel that is gone cannot fail any more: the error comes late.
        guard let index, phase == .running, channels.slots[index]?.phase == .open else { return .none }
        // What is confirmed is confirmed, whatever comes behind it.
        channels.slots[index]?.writeConfirms(into: &output)
        channels.slots[index]?.takeEverything(&environment.settled)
        ServerMethod.channelClose(CloseMethod(blamed)).encode(channel: number, into: &output)
        channels.slots[index]?.becomeClosed()
        return .channel(number, .failed(blamed))
    }

    /// Ends the connection: a violation, a shutdown, an administrator.
    package mutating func fail(_ error: AMQPError, output: inout ByteBuffer) -> AMQPAction {
        fail(error, &output)
    }

    mutating func fail(_ error: AMQPError, _ output: inout ByteBuffer) -> AMQPAction {
        switch phase {
        case .running, .opening, .openingVirtualHost, .closedByClient:
            write(.connectionClose(CloseMethod(error)), &output)
            phase = .closedByServer(error)
            endMilliseconds = clockMilliseconds + options.limits.closeTimeoutMilliseconds
        case .tuning where error.code == .notAllowed:
            write(.connectionClose(CloseMethod(error)), &output)
            phase = .closedByServer(error)
            endMilliseconds = clockMilliseconds + options.limits.closeTimeoutMilliseconds
        case .awaitingHeader, .starting, .authenticating, .securing, .tuning:
            // Who is not known yet learns nothing, and waits.
            drain(.closedByServer(error))
        case .closedByServer, .draining, .ended: return .none
        }
        channels.removeAll()
        return .failed(error)
    }

    /// The frames cannot be told apart any more: nothing that comes is looked at.
    mutating func failFraming(_ error: AMQPError, _ output: inout ByteBuffer) -> AMQPAction {
        let action = fail(error, &output)
        drain(.closedByServer(error))
        return action == .none ? .discard : action
    }

    mutating func drain(_ end: ConnectionEnd) {
        phase = .draining(end)
        endMilliseconds = clockMilliseconds + options.limits.farewellMilliseconds
    }

    /// connection.close: in every phase, so that a client can leave in good order.
    mutating func receivedClose(_ close: CloseMethod, _ output: inout ByteBuffer) -> AMQPAction {
        if case .closedByServer = phase {
            // Both at once: close-ok is still to come.
            write(.connectionCloseOk, &output)
            return .none
        }
        phase = .closedByClient(close)
        channels.removeAll()
        return .closeRequested(close)
    }

    /// All that belonged to the connection is let go of: its exclusive queues are gone when the client reads close-ok.
    package mutating func completeClose(output: inout ByteBuffer) -> AMQPAction {
        guard case .closedByClient(let close) = phase else { return .none }
        write(.connectionCloseOk, &output)
        phase = .ended
        return .close(.closedByClient(close))
    }

    /// The same for a channel that the client closes; its number can be used again.
    package mutating func completeClose(channel number: UInt16, output: inout ByteBuffer) {
        guard let index = channels.find(number), channels.slots[index]?.phase == .closedByClient else { return }
        channels.remove(number)
        ServerMethod.channelCloseOk.encode(channel: number, into: &output)
    }

    /// The queue of a consumer is gone: tells a client that wants to know.
    package mutating func cancel(consumer: UInt32, onChannel number: UInt16, output: inout ByteBuffer) {
        let isAnnounced = clientCapabilities.wantsCancelNotifications
        self[channel: number]?.cancel(consumer: consumer, isAnnounced: isAnnounced, output: &output)
    }

    /// The transport is gone without a word.
    package mutating func connectionLost() {
        phase = .ended
        channels.removeAll()
    }
}

extension AMQPChannelStateMachine {
    /// channel.close was sent.
    mutating func becomeClosed() {
        phase = .closedByServer
        content.abandon()
        answered()
        confirms = nil
        transaction = nil
        consumers = ConsumerTable()
        replyConsumer = ConsumerTable.none
    }
}
