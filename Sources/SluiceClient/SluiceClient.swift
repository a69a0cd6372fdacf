public import Logging
internal import NIOCore
public import NIOPosix
internal import NativeProtocol

/// A client of a Sluice server, over the native protocol.
///
/// One client keeps one connection, on which producers, consumers and requests share the way. When it is lost, it is
/// made again, and producers and consumers go on where they were.
public final class SluiceClient: Sendable {
    let core: ClientCore
    /// The server's name and version, as it gave them when the first connection was made.
    public let serverName: String
    public let serverVersion: String

    private init(core: ClientCore, serverName: String, serverVersion: String) {
        self.core = core
        self.serverName = serverName
        self.serverVersion = serverVersion
    }

    /// Connects to the first endpoint that answers.
    /// - Parameter group: whose event loops carry the connection; one of them is taken.
    /// - Throws: `connectionLost` where no endpoint answers, or the reason that the server gave.
    public static func connect(
        _ configuration: ClientConfiguration,
        group: MultiThreadedEventLoopGroup = .singleton,
        logger: Logger? = nil
    ) async throws(SluiceClientError) -> SluiceClient {
        let core = ClientCore(
            eventLoop: group.next(),
            configuration: configuration,
            logger: logger ?? Logger(label: "sluice.client") { _ in SwiftLogNoOpLogHandler() }
        )
        let hello = try await core.connect()
        return SluiceClient(core: core, serverName: hello.serverName, serverVersion: hello.serverVersion)
    }

    /// Opens a producer.
    /// - Parameter address: a topic's name, or a name that a topic holds, which then is the name of the messages.
    public func producer(
        to address: String,
        options: ProducerOptions = ProducerOptions()
    ) async throws(SluiceClientError) -> Producer {
        try await Producer(core: core, address: address, options: options)
    }

    /// Closes the connection. What waits fails with `closed`, or with `indeterminate` where it may have happened: close
    /// producers before.
    public func close() async {
        let core = core
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            core.eventLoop.execute {
                core.close()
                continuation.resume()
            }
        }
    }
}
