/// Where a server listens for native clients.
public struct Endpoint: Hashable, Sendable, CustomStringConvertible {
    /// The port of the native protocol where nothing else is configured.
    public static let defaultPort = 7_400

    public var host: String
    public var port: Int

    public init(host: String = "localhost", port: Int = Endpoint.defaultPort) {
        self.host = host
        self.port = port
    }

    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// How a client connects and goes on connecting.
public struct ClientConfiguration: Sendable {
    /// Servers to try, in turn.
    public var endpoints: [Endpoint]
    /// What the server calls this client in its logs.
    public var name = "sluice-swift"
    /// One attempt to connect, with the handshake, takes no longer.
    public var connectTimeout: Duration = .seconds(5)
    /// A request without an answer fails after this time.
    public var requestTimeout: Duration = .seconds(30)
    /// A lost connection that has not come back after this time is given up: what waits for it fails.
    public var reconnectTimeout: Duration = .seconds(60)
    /// The pause before the first attempt to reconnect; doubled for each further one, up to `maxBackoff`. The actual
    /// pause is between half of it and all of it, at random, so that clients do not come back all at once.
    public var minBackoff: Duration = .milliseconds(50)
    public var maxBackoff: Duration = .seconds(5)

    public init(endpoints: [Endpoint] = [Endpoint()]) { self.endpoints = endpoints }

    public init(host: String, port: Int = Endpoint.defaultPort) {
        self.init(endpoints: [Endpoint(host: host, port: port)])
    }
}

/// The pauses between attempts to reconnect.
struct Backoff {
    private let smallest: Duration
    private let largest: Duration
    private var next: Duration

    init(smallest: Duration, largest: Duration) {
        self.smallest = smallest
        self.largest = largest
        next = smallest
    }

    /// The next pause: random between half and all of a length that doubles.
    mutating func pause(random: Double = .random(in: 0...1)) -> Duration {
        let whole = next
        next = min(next * 2, largest)
        return whole / 2 + whole / 2 * random
    }

    mutating func reset() { next = smallest }
}
