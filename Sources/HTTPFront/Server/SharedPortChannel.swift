internal import HummingbirdCore
internal import Logging
package import NIOCore
package import Transport

/// What else is served on the port of HTTP: a protocol in WebSocket, at one path.
package struct WebSocketService: Sendable {
    package var upgrade: WebSocketUpgrade
    /// Adds the handlers of the front that speaks it.
    package var addFront: @Sendable (any Channel) throws -> Void

    package init(_ upgrade: WebSocketUpgrade, addFront: @escaping @Sendable (any Channel) throws -> Void) {
        self.upgrade = upgrade
        self.addFront = addFront
    }
}

/// A connection of the HTTP port: HTTP, unless its first request is for the path of the WebSocket service.
struct SharedPortChannel: ServerChildChannel {
    struct Value: ServerChildChannelValue {
        let channel: any Channel
        /// Nil where it is not HTTP.
        let http: EventLoopFuture<HTTP1Channel.Value?>
    }

    let http: HTTP1Channel
    let webSocket: WebSocketService?
    let timeout: TimeAmount

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        guard let webSocket else {
            return http.setup(channel: channel, logger: logger).map { value in
                Value(channel: channel, http: channel.eventLoop.makeSucceededFuture(value))
            }
        }
        return channel.eventLoop.makeCompletedFuture {
            let promise = channel.eventLoop.makePromise(of: HTTP1Channel.Value?.self)
            let portSwitch = PortSwitch(path: webSocket.upgrade.path, timeout: timeout) { [http] choice, channel in
                switch choice {
                case .other: http.setup(channel: channel, logger: logger).map { $0 }.cascade(to: promise)
                case .path:
                    promise.succeed(nil)
                    try webSocket.upgrade.configure(channel, addFront: webSocket.addFront)
                case .neither: promise.succeed(nil)
                }
            }
            do {
                try channel.pipeline.syncOperations.addHandler(portSwitch)
            } catch {
                promise.succeed(nil)
                throw error
            }
            return Value(channel: channel, http: promise.futureResult)
        }
    }

    func handle(value: Value, logger: Logger) async {
        guard let http = try? await value.http.get() else { return }
        await self.http.handle(value: http, logger: logger)
    }
}
