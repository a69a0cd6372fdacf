package import NIOCore

// Heartbeats in both directions, and how long the rest may take.
extension AMQPConnectionStateMachine {
    /// Bytes have arrived, whatever they are: the client lives.
    package mutating func noteArrival(nowMilliseconds: Int64) {
        clockMilliseconds = nowMilliseconds
        lastArrivalMilliseconds = nowMilliseconds
    }

    /// Bytes were handed to the transport: no heartbeat is needed beside them.
    package mutating func noteWrite(nowMilliseconds: Int64) {
        clockMilliseconds = nowMilliseconds
        lastWriteMilliseconds = nowMilliseconds
    }

    /// The owner stops reading, or goes on: while nothing is read, silence says nothing about the client.
    package mutating func setReadingPaused(_ isPaused: Bool, nowMilliseconds: Int64) {
        clockMilliseconds = nowMilliseconds
        if isReadingPaused, !isPaused { lastArrivalMilliseconds = nowMilliseconds }
        isReadingPaused = isPaused
    }

    private var heartbeatMilliseconds: Int64 { Int64(tuning.heartbeatSeconds) * 1_000 }

    /// When `timerFired` is to be called at the latest; nil when no time counts. It moves with every read and write, so
    /// a timer that fires early asks again instead of being reset each time.
    package var deadlineMilliseconds: Int64? {
        switch phase {
        case .awaitingHeader, .starting, .authenticating, .securing, .tuning:
            return openedMilliseconds + options.limits.handshakeTimeoutMilliseconds
        case .opening, .openingVirtualHost:
            let end = openedMilliseconds + options.limits.handshakeTimeoutMilliseconds
            return min(end, heartbeatDeadline ?? end)
        case .running: return heartbeatDeadline
        case .closedByClient: return nil
        case .closedByServer, .draining: return endMilliseconds
        case .ended: return nil
        }
    }

    private var heartbeatDeadline: Int64? {
        guard tuning.heartbeatSeconds > 0 else { return nil }
        let send = lastWriteMilliseconds + heartbeatMilliseconds / 2
        return isReadingPaused ? send : min(send, lastArrivalMilliseconds + heartbeatMilliseconds * 2)
    }

    /// To be called when the deadline has come. Writes a heartbeat when one is due.
    package mutating func timerFired(nowMilliseconds: Int64, output: inout ByteBuffer) -> AMQPAction {
        clockMilliseconds = nowMilliseconds
        switch phase {
        case .closedByServer(let error):
            guard nowMilliseconds >= endMilliseconds else { return .none }
            phase = .ended
            return .close(.closedByServer(error))
        case .draining(let end):
            guard nowMilliseconds >= endMilliseconds else { return .none }
            phase = .ended
            return .close(end)
        case .closedByClient, .ended: return .none
        case .awaitingHeader, .starting, .authenticating, .securing, .tuning, .opening, .openingVirtualHost:
            guard nowMilliseconds < openedMilliseconds + options.limits.handshakeTimeoutMilliseconds else {
                phase = .ended
                return .close(.handshakeTimeout)
            }
            return beat(nowMilliseconds, &output)
        case .running: return beat(nowMilliseconds, &output)
        }
    }

    private mutating func beat(_ nowMilliseconds: Int64, _ output: inout ByteBuffer) -> AMQPAction {
        guard tuning.heartbeatSeconds > 0 else { return .none }
        if !isReadingPaused, nowMilliseconds >= lastArrivalMilliseconds + heartbeatMilliseconds * 2 {
            phase = .ended
            channels.removeAll()
            return .close(.heartbeatTimeout)
        }
        if nowMilliseconds >= lastWriteMilliseconds + heartbeatMilliseconds / 2 {
            FrameWriter.writeHeartbeat(into: &output)
            lastWriteMilliseconds = nowMilliseconds
        }
        return .none
    }
}
