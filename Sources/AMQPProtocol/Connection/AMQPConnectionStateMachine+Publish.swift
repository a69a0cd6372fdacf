import NIOCore

// The short way of a message: its three frames lie one behind the other in the received bytes, and are used there.
extension AMQPConnectionStateMachine {
    mutating func receivePublish(
        _ frame: Frame,
        at index: Int,
        _ bytes: UnsafeRawBufferPointer,
        _ output: inout ByteBuffer
    ) -> AMQPStep {
        let arguments = Frame.headerLength &+ 4..<frame.payload().upperBound
        let publish: BasicPublish
        do throws(WireError) {
            var reader = ByteReader(bytes, in: arguments)
            publish = try BasicPublish(&reader)
        } catch {
            let wrong = AMQPError(
                error,
                arguments: UnsafeRawBufferPointer(rebasing: bytes[arguments]),
                of: .basicPublish
            )
            return failed(frame.totalLength, frame.channel, wrong, &output)
        }
        let span: ContentSpan
        do throws(AMQPError) {
            span = try findContent(behind: frame, bytes)
        } catch {
            // The header was looked at already, and is used up with the method.
            return failed(frame.totalLength, frame.channel, error, &output)
        }
        switch span {
        case .incomplete(let total): return AMQPStep(consumed: 0, action: .needMore(total: total))
        case .scattered:
            channels.slots[index]?.content.begin(
                publish.moved(by: arguments.lowerBound),
                arguments: UnsafeRawBufferPointer(rebasing: bytes[arguments])
            )
            return AMQPStep(consumed: frame.totalLength, action: .none)
        case .inPlace(let properties, let body, let end):
            do throws(AMQPError) {
                guard
                    let inbound = try channels.slots[index]?
                        .finish(publish, properties: properties, body: body, of: bytes, isAssembled: false)
                else { return AMQPStep(consumed: end, action: .none) }
                return AMQPStep(consumed: end, action: .channel(frame.channel, .publish(inbound)))
            } catch {
                return failed(end, frame.channel, error, &output)
            }
        }
    }

    private mutating func failed(
        _ consumed: Int,
        _ channel: UInt16,
        _ error: AMQPError,
        _ output: inout ByteBuffer
    ) -> AMQPStep {
        AMQPStep(consumed: consumed, action: fail(channel: channel, error, output: &output))
    }

    private enum ContentSpan {
        case inPlace(properties: Range<Int>, body: Range<Int>, end: Int)
        /// It would be in one piece if so many bytes were there.
        case incomplete(total: Int)
        /// It is to be put together frame by frame, and what is wrong with it is found then.
        case scattered
    }

    /// Looks whether content header and body follow directly.
    @inline(__always)
    private func findContent(
        behind method: Frame,
        _ bytes: UnsafeRawBufferPointer
    ) throws(AMQPError) -> ContentSpan {
        let headerStart = method.totalLength
        let headerEnd: Int
        switch follow(.header, method.channel, at: headerStart, bytes) {
        case .whole(let length): headerEnd = headerStart &+ length
        case .part(let length): return incomplete(headerStart &+ length)
        case .other: return .scattered
        }
        let payload = headerStart &+ Frame.headerLength..<headerEnd &- 1
        guard let header = ContentHeader(payload, of: bytes) else { return .scattered }
        try ContentAssembly.judge(header, bytes, options.limits)
        guard header.bodySize > 0 else {
            return .inPlace(properties: header.properties, body: headerEnd..<headerEnd, end: headerEnd)
        }
        let bodyLength = Int(header.bodySize)
        guard headerEnd &+ bodyLength <= options.limits.maximumContentInPlace else { return .scattered }
        switch follow(.body, method.channel, at: headerEnd, bytes) {
        case .whole(let length):
            guard length &- Frame.overhead == bodyLength else { return .scattered }
            let start = headerEnd &+ Frame.headerLength
            return .inPlace(properties: header.properties, body: start..<start &+ bodyLength, end: headerEnd &+ length)
        case .part(let length):
            guard length == Frame.headerLength || length &- Frame.overhead == bodyLength else { return .scattered }
            return incomplete(headerEnd &+ length)
        case .other: return .scattered
        }
    }

    private func incomplete(_ total: Int) -> ContentSpan {
        total <= options.limits.maximumContentInPlace ? .incomplete(total: total) : .scattered
    }

    private enum Following {
        case whole(Int)
        /// So much of it must be there to go on.
        case part(Int)
        /// Something else, or something wrong, which is found when it is its turn.
        case other
    }

    @inline(__always)
    private func follow(
        _ type: FrameType,
        _ channel: UInt16,
        at start: Int,
        _ bytes: UnsafeRawBufferPointer
    ) -> Following {
        guard bytes.count &- start >= Frame.headerLength else { return .part(Frame.headerLength) }
        guard bytes[start] == type.rawValue,
            UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: start &+ 1, as: UInt16.self)) == channel
        else { return .other }
        switch framer.next(bytes, at: start) {
        case .frame(let frame): return .whole(frame.totalLength)
        case .needMore(let total): return .part(total)
        case .invalid: return .other
        }
    }
}
