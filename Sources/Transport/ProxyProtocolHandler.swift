package import MessageModel
package import NIOCore

/// Told to the handlers behind it once it is known who the client is: an inbound user event.
package struct ClientAddress: Equatable, Sendable {
    /// Nil where nobody knows.
    package var address: SocketAddress?

    package init(address: SocketAddress?) {
        self.address = address
    }
}

/// Takes the PROXY header off the beginning of a connection, tells who the client is (`ClientAddress`), and goes.
///
/// A connection that does not begin with one is closed: where a balancer is expected, whoever comes without it could
/// say that he is anybody (§2 of the protocol's specification). One that says nothing is left to the timeout that the
/// front has for new connections.
package final class ProxyProtocolHandler: ChannelInboundHandler, RemovableChannelHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer

    private var gathered = ByteBuffer()
    private let onRefusal: @Sendable (SluiceError, SocketAddress?) -> Void
    private var isOver = false

    /// - Parameter onRefusal: told why a connection was closed, and from where it came.
    package init(onRefusal: @escaping @Sendable (SluiceError, SocketAddress?) -> Void) {
        self.onRefusal = onRefusal
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isOver else { return }
        var bytes = unwrapInboundIn(data)
        gathered.writeBuffer(&bytes)
        let reading: Result<ProxyHeader.Reading, SluiceError> = gathered.withUnsafeReadableBytes { bytes in
            do throws(SluiceError) { return .success(try ProxyHeader.read(bytes)) } catch { return .failure(error) }
        }
        switch reading {
        case .success(.needsMore):
            break
        case .success(.complete(let header, let length)):
            isOver = true
            gathered.moveReaderIndex(forwardBy: length)
            context.fireUserInboundEventTriggered(ClientAddress(address: header.client))
            if gathered.readableBytes > 0 {
                context.fireChannelRead(wrapInboundOut(gathered))
                context.fireChannelReadComplete()
            }
            gathered = ByteBuffer()
            context.pipeline.syncOperations.removeHandler(self, promise: nil)
        case .failure(let error):
            isOver = true
            onRefusal(error, context.remoteAddress)
            context.close(promise: nil)
        }
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        // What is behind has read nothing yet.
        if isOver { context.fireChannelReadComplete() }
    }
}
