internal import AMQPModel
internal import AMQPProtocol
internal import Gateway
internal import Logging
internal import MessageModel
internal import NIOCore
internal import StorageService

// Messages on their way to storage.
extension VirtualHost {
    /// Adds one message to the append of this tick.
    @inline(__always)
    func publish(
        _ publish: InboundPublish,
        _ bytes: UnsafeRawBufferPointer,
        _ address: PublishAddress,
        _ handler: AMQPConnectionHandler,
        _ channel: ChannelState,
        _ session: GatewaySession
    ) {
        var record = RecordFields()
        record.hasAbsoluteName = address.isAbsolute
        record.body = bytes.slice(publish.body)
        let token =
            if let name = address.name {
                name.withUnsafeBytes { name in
                    record.routingKey = name
                    return add(record, publish, bytes, address, session)
                }
            } else {
                add(record, publish, bytes, address, session)
            }
        if publish.isMandatory { keepMandatory(publish, bytes, handler, channel, token) }
        let size = publish.body.count &+ publish.properties.count
        handler.notePublished(bytes: size)
        waiters.wait(handler, channel, tag: publish.confirmTag, bytes: size, token: token)
    }

    @inline(__always)
    private func add(
        _ fields: RecordFields,
        _ publish: InboundPublish,
        _ bytes: UnsafeRawBufferPointer,
        _ address: PublishAddress,
        _ session: GatewaySession
    ) -> UInt64 {
        guard publish.propertyFlags != 0 else {
            return gatherer.add(fields, to: address.partition, session: session)
        }
        var record = fields
        properties.prepare(bytes.slice(publish.properties), isDelayed: address.target.isDelayed)
        return properties.withEncoded { encoded in
            record.properties = encoded
            return gatherer.add(record, to: address.partition, session: session)
        }
    }

    func flushPublished() {
        guard !gatherer.isEmpty, let session else { return }
        waiters.closeLast()
        gatherer.flush(session: session)
    }

    /// Keeps a message that is to be returned where nobody takes it.
    private func keepMandatory(
        _ publish: InboundPublish,
        _ bytes: UnsafeRawBufferPointer,
        _ handler: AMQPConnectionHandler,
        _ channel: ChannelState,
        _ token: UInt64
    ) {
        let index = gatherer.reportUnrouted()
        let kept = mandatory[token] ?? MandatoryMessages()
        mandatory[token] = kept
        kept.append(publish, bytes, index: index, handler, channel)
    }

    func appendCompleted(token: UInt64, result: AppendResult) {
        if !mandatory.isEmpty, let kept = mandatory.removeValue(forKey: token), !result.unrouted.isEmpty {
            kept.giveBack(result.unrouted)
        }
        var first: UInt32 = 0
        for waiter in waiters.take(token) {
            switch waiter.owner {
            case .channel(let handler, let channel): handler.completed(channel, waiter, firstIndex: first, result)
            case .group(let group): group.finish(isRefused: result.error != nil || result.refused.contains(first))
            }
            first &+= UInt32(truncatingIfNeeded: waiter.count)
        }
        switch result.error {
        case .storageFull, .storageUnavailable: block()
        default: break
        }
    }
}
