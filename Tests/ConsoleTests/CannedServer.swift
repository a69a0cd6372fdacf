import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A server on a free port of this machine that answers each request with the next of its canned texts.
final class CannedServer: Sendable {
    enum Answer: Sendable {
        /// The connection is closed after it.
        case bytes(String)
        /// The connection stays open, and nothing comes.
        case silence

        static func json(_ status: Int, _ body: String, type: String = "application/json; charset=utf-8") -> Answer {
            .bytes("HTTP/1.1 \(status) X\r\nContent-Type: \(type)\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
        }
    }

    private let answers: Mutex<[Answer]>
    private let received = Mutex<[String]>([])

    private init(_ answers: [Answer]) {
        self.answers = Mutex(answers)
    }

    /// The requests so far: method, target and body.
    var requests: [String] { received.withLock { $0 } }

    /// Runs the body with a server and its port, and stops the server.
    static func run(_ answers: [Answer], _ body: (CannedServer, Int) async throws -> Void) async throws {
        let server = CannedServer(answers)
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handlers = channel.pipeline.syncOperations
                    // Requests are parsed, answers are raw, so that they can be wrong.
                    try handlers.addHandler(ByteToMessageHandler(HTTPRequestDecoder()))
                    try handlers.addHandler(Handler(server))
                }
            }
            .bind(host: "127.0.0.1", port: 0)
            .get()
        do {
            try await body(server, channel.localAddress?.port ?? 0)
        } catch {
            try? await channel.close().get()
            throw error
        }
        try await channel.close().get()
    }

    fileprivate func answer(_ request: String) -> Answer {
        received.withLock { $0.append(request) }
        return answers.withLock { $0.isEmpty ? .silence : $0.removeFirst() }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = ByteBuffer

        private let server: CannedServer
        private var request = ""

        init(_ server: CannedServer) {
            self.server = server
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .head(let head): request = "\(head.method) \(head.uri)"
            case .body(let part): request += " " + String(buffer: part)
            case .end:
                guard case .bytes(let text) = server.answer(request) else { return }
                context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
                context.close(promise: nil)
            }
        }
    }
}
