package import NIOCore

/// Finds out which of two protocols a connection of a shared port speaks, by how its first request begins, and has the
/// pipeline made for it. What was read until then comes to the handlers that were added.
package final class PortSwitch: ChannelInboundHandler, RemovableChannelHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer

    private let beginning: [UInt8]
    private let timeout: TimeAmount
    private var choose: ((Choice, any Channel) throws -> Void)?
    private var gathered = ByteBuffer()
    private var timer: Scheduled<Void>?

    package enum Choice: Equatable, Sendable {
        /// It is a request for the path.
        case path
        case other
        /// It was closed before that could be seen.
        case neither
    }

    /// - Parameters:
    ///   - path: what is looked for: `GET` of this path, with or without a query.
    ///   - timeout: a connection that has not said by then what it is gets closed.
    ///   - choose: called once, on the channel's event loop; adds the handlers.
    package init(path: String, timeout: TimeAmount, choose: @escaping (Choice, any Channel) throws -> Void) {
        beginning = Array("GET \(path)".utf8)
        self.timeout = timeout
        self.choose = choose
    }

    package func handlerAdded(context: ChannelHandlerContext) {
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: timeout) { context.close(promise: nil) }
    }

    package func handlerRemoved(context: ChannelHandlerContext) {
        timer?.cancel()
        decide(.neither, context)
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        gathered.writeBuffer(&bytes)
        guard choose != nil, let choice = gathered.withUnsafeReadableBytes(choice) else { return }
        decide(choice, context)
        context.fireChannelRead(wrapInboundOut(gathered))
        gathered = ByteBuffer()
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    package func channelInactive(context: ChannelHandlerContext) {
        decide(.neither, context)
        context.fireChannelInactive()
    }

    package func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case ChannelEvent.inputClosed, is ChannelShouldQuiesceEvent: context.close(promise: nil)
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    /// Nil where more is needed.
    private func choice(_ bytes: UnsafeRawBufferPointer) -> Choice? {
        guard bytes.count > beginning.count else { return beginning.starts(with: bytes) ? nil : .other }
        let next = bytes[beginning.count]
        return bytes.starts(with: beginning) && (next == UInt8(ascii: " ") || next == UInt8(ascii: "?"))
            ? .path : .other
    }

    private func decide(_ choice: Choice, _ context: ChannelHandlerContext) {
        guard let choose else { return }
        self.choose = nil
        do { try choose(choice, context.channel) } catch { context.close(promise: nil) }
    }
}

@available(*, unavailable)
extension PortSwitch: Sendable {}
