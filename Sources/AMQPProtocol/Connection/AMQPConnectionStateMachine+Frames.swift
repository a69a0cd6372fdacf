import NIOCore

// Frames, and the way from a frame to its channel.
extension AMQPConnectionStateMachine {
    mutating func receiveFrame(_ bytes: UnsafeRawBufferPointer, _ output: inout ByteBuffer) -> AMQPStep {
        switch framer.next(bytes) {
        case .needMore(let total): return AMQPStep(consumed: 0, action: .needMore(total: total))
        case .invalid(let error):
            return AMQPStep(consumed: bytes.count, action: failFraming(error, &output))
        case .frame(let frame):
            if frame.channel != 0, phase == .running { return receiveChannelFrame(frame, bytes, &output) }
            let payload = UnsafeRawBufferPointer(rebasing: bytes[frame.payload()])
            let action = receiveControlFrame(frame, payload, &output)
            // What waits for the owner behind this frame is not lost: only the frame is used up.
            return AMQPStep(consumed: frame.totalLength, action: action)
        }
    }

    /// A frame of channel 0, or one of another channel while the connection is not open.
    private mutating func receiveControlFrame(
        _ frame: Frame,
        _ payload: UnsafeRawBufferPointer,
        _ output: inout ByteBuffer
    ) -> AMQPAction {
        let isClosing = if case .closedByServer = phase { true } else { false }
        if frame.channel != 0 {
            return isClosing ? .none : fail(.unexpected(frame.type, payload), &output)
        }
        switch FrameType(rawValue: frame.type) {
        case .heartbeat where payload.isEmpty: return .none
        case .method where payload.count >= 4: break
        case .header where payload.count >= ContentHeader.fixedLength, .body:
            return isClosing ? .none : fail(.unexpected(frame.type, payload), &output)
        case .heartbeat, .method, .header, nil:
            return isClosing ? .none : fail(.frame(frame.type, payload, "unknown_frame"), &output)
        }
        let number = UInt32(bigEndian: payload.loadUnaligned(as: UInt32.self))
        guard let id = MethodID(rawValue: number) else {
            return isClosing ? .none : fail(.unknownMethod(number), &output)
        }
        do throws(AMQPError) {
            let arguments = UnsafeRawBufferPointer(rebasing: payload[4...])
            if isClosing, id != .connectionClose, id != .connectionCloseOk { return .none }
            guard id.classID == 10 else { throw unexpectedMethod(id) }
            let method = try ClientMethod.decode(id, arguments, depth: options.limits.maximumTableDepth)
            return try receivedControl(method, id, &output)
        } catch {
            return fail(error.blaming(id), &output)
        }
    }

    func unexpectedMethod(_ id: MethodID) -> AMQPError {
        AMQPError(.channelError, "unexpected method in connection state \(stateName)", method: id)
    }

    // MARK: Channels

    @inline(__always)
    private mutating func receiveChannelFrame(
        _ frame: Frame,
        _ bytes: UnsafeRawBufferPointer,
        _ output: inout ByteBuffer
    ) -> AMQPStep {
        if let index = channels.index(of: frame.channel), let isBusy = channels.slots[index]?.isBusy {
            if isBusy { return AMQPStep(consumed: 0, action: .paused) }
            if let hot = receiveHotFrame(frame, at: index, bytes, &output) { return hot }
        }
        let payload = UnsafeRawBufferPointer(rebasing: bytes[frame.payload()])
        var action: AMQPAction
        do throws(AMQPError) {
            action = try receivedOnChannel(frame, payload, &output)
        } catch {
            action = fail(channel: frame.channel, error, output: &output)
        }
        return AMQPStep(consumed: frame.totalLength, action: action)
    }

    /// Messages and their settlement take a shorter way; nil for everything else.
    @inline(__always)
    private mutating func receiveHotFrame(
        _ frame: Frame,
        at index: Int,
        _ bytes: UnsafeRawBufferPointer,
        _ output: inout ByteBuffer
    ) -> AMQPStep? {
        guard frame.type == FrameType.method.rawValue, frame.payloadLength >= 4,
            channels.slots[index]?.takesMethods == true
        else { return nil }
        switch UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: Frame.headerLength, as: UInt32.self)) {
        case MethodID.basicPublish.rawValue: return receivePublish(frame, at: index, bytes, &output)
        case MethodID.basicAck.rawValue: return receiveSettle(.basicAck, frame, at: index, bytes, &output)
        case MethodID.basicNack.rawValue: return receiveSettle(.basicNack, frame, at: index, bytes, &output)
        case MethodID.basicReject.rawValue: return receiveSettle(.basicReject, frame, at: index, bytes, &output)
        default: return nil
        }
    }

    @inline(__always)
    private mutating func receiveSettle(
        _ id: MethodID,
        _ frame: Frame,
        at index: Int,
        _ bytes: UnsafeRawBufferPointer,
        _ output: inout ByteBuffer
    ) -> AMQPStep? {
        var reader = ByteReader(bytes, in: Frame.headerLength &+ 4..<frame.payload().upperBound)
        // What is malformed goes the long way, which finds the words for it.
        guard let settle = try? BasicSettle(id, &reader) else { return nil }
        let action: AMQPAction
        do throws(AMQPError) {
            let settled = try channels.slots[index]?.settle(settle, id, &environment.settled)
            action = settled == .settle ? .channel(frame.channel, .settle) : .none
        } catch {
            action = fail(channel: frame.channel, error, output: &output)
        }
        return AMQPStep(consumed: frame.totalLength, action: action)
    }

    private mutating func receivedOnChannel(
        _ frame: Frame,
        _ payload: UnsafeRawBufferPointer,
        _ output: inout ByteBuffer
    ) throws(AMQPError) -> AMQPAction {
        switch FrameType(rawValue: frame.type) {
        case .heartbeat where payload.isEmpty: throw .unexpected(frame.type, payload)
        case .method where payload.count >= 4: break
        case .header where payload.count >= ContentHeader.fixedLength, .body:
            return try receivedContent(frame, payload)
        case .heartbeat, .method, .header, nil: throw .frame(frame.type, payload, "unknown_frame")
        }
        let number = UInt32(bigEndian: payload.loadUnaligned(as: UInt32.self))
        let id = MethodID(rawValue: number)
        guard let index = channels.index(of: frame.channel) else {
            return try openChannel(frame.channel, id, number, &output)
        }
        if channels.slots[index]?.phase == .closedByServer {
            return receivedOnClosedChannel(frame.channel, id, &output)
        }
        guard let id else { throw .unknownMethod(number) }
        if channels.slots[index]?.content.isIdle == false {
            // A method where content is due.
            _ = try channels.slots[index]?.content.received(frame, payload: payload, limits: options.limits)
            return .none
        }
        let arguments = UnsafeRawBufferPointer(rebasing: payload[4...])
        do throws(AMQPError) {
            let method = try ClientMethod.decode(id, arguments, depth: options.limits.maximumTableDepth)
            let action = try channels.slots[index]?.received(method, id, &environment, &output)
            return .channel(frame.channel, action ?? .none).flattened
        } catch {
            throw error.blaming(id)
        }
    }

    private mutating func openChannel(
        _ channel: UInt16,
        _ id: MethodID?,
        _ number: UInt32,
        _ output: inout ByteBuffer
    ) throws(AMQPError) -> AMQPAction {
        guard let id else { throw .unknownMethod(number) }
        guard id == .channelOpen else { throw AMQPError(.channelError, "expected 'channel.open'", method: id) }
        guard channels.count < Int(tuning.channelMaximum) else {
            throw AMQPError(
                .notAllowed,
                "number of channels opened (\(channels.count)) has reached the negotiated channel_max "
                    + "(\(tuning.channelMaximum))",
                method: id
            )
        }
        let machine = AMQPChannelStateMachine(
            number: channel,
            frameMaximum: tuning.frameMaximum,
            limits: options.limits
        )
        channels.insert(machine)
        machine.write(.channelOpenOk, &output)
        return .channelOpened(channel)
    }

    /// Until close-ok everything is thrown away that the client had sent before it knew.
    private mutating func receivedOnClosedChannel(
        _ channel: UInt16,
        _ id: MethodID?,
        _ output: inout ByteBuffer
    ) -> AMQPAction {
        if id == .channelCloseOk { channels.remove(channel) }
        if id == .channelClose { ServerMethod.channelCloseOk.encode(channel: channel, into: &output) }
        return .none
    }

    private mutating func receivedContent(
        _ frame: Frame,
        _ payload: UnsafeRawBufferPointer
    ) throws(AMQPError) -> AMQPAction {
        guard let index = channels.index(of: frame.channel) else {
            throw AMQPError(.unexpectedFrame, "expected method frame, got non method frame instead")
        }
        guard channels.slots[index]?.phase == .open,
            let step = try channels.slots[index]?.content.received(frame, payload: payload, limits: options.limits),
            case .complete(let publish, let properties, let body) = step
        else { return .none }
        environment.assembled = channels.slots[index]?.content.takeBytes() ?? []
        let result: Result<InboundPublish?, AMQPError> = environment.assembled.withUnsafeBytes { bytes in
            Result { () throws(AMQPError) in
                try channels.slots[index]?
                    .finish(publish, properties: properties, body: body, of: bytes, isAssembled: true)
            }
        }
        guard let inbound = try result.get() else { return .none }
        return .channel(frame.channel, .publish(inbound))
    }
}

extension AMQPChannelStateMachine {
    /// Methods may come: no content is under way.
    @inline(__always)
    var takesMethods: Bool { phase == .open && content.isIdle }
}

extension AMQPAction {
    /// A channel's action that is none is none.
    fileprivate var flattened: AMQPAction {
        if case .channel(_, .none) = self { .none } else { self }
    }
}

extension AMQPError {
    static func unknownMethod(_ number: UInt32) -> AMQPError {
        AMQPError(.commandInvalid, "unknown method \(number >> 16),\(number & 0xFFFF)")
    }
}
