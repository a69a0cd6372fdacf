package import MessageModel

/// The clients of a front whose protocol has sessions, for those who look after them. Called on the event loop of the
/// front, which is that of its gateway; answers come there too.
package protocol SessionDirectory: AnyObject {
    /// Sessions behind a place, in no order that means anything.
    /// - Parameter after: what an earlier page said comes next; nil for the first.
    func listSessions(
        after: String?,
        limit: Int,
        _ completion: @escaping @Sendable (Result<SessionPage, SluiceError>) -> Void
    )
    func showSession(
        of client: String,
        _ completion: @escaping @Sendable (Result<ClientSession, SluiceError>) -> Void
    )
    /// Ends a client's connection; its session stays as long as it was to stay.
    /// - Returns: false where it is not connected.
    func disconnectClient(_ client: String) -> Bool
    /// Ends a client's connection and deletes its session with everything that waits in it.
    func deleteSession(of client: String, _ completion: @escaping @Sendable (Result<Void, SluiceError>) -> Void)
}

package struct SessionPage: Sendable {
    package var sessions: [ClientSession]
    /// Where the next page begins; nil at the end.
    package var next: String?

    package init(sessions: [ClientSession], next: String?) {
        self.sessions = sessions
        self.next = next
    }
}

/// One client and its session.
package struct ClientSession: Sendable, Equatable {
    package struct Connection: Sendable, Equatable {
        /// `MQTT 5.0`
        package var protocolName: String
        /// Empty where nobody knows.
        package var address: String
        package var since: Timestamp
        /// Zero where it sends when it likes.
        package var keepAliveSeconds: UInt16
        /// Messages that are sent to the client before it acknowledges.
        package var window: Int
        /// Bytes that wait because it does not read them.
        package var unsentBytes: Int

        package init(
            protocolName: String,
            address: String,
            since: Timestamp,
            keepAliveSeconds: UInt16,
            window: Int,
            unsentBytes: Int
        ) {
            self.protocolName = protocolName
            self.address = address
            self.since = since
            self.keepAliveSeconds = keepAliveSeconds
            self.window = window
            self.unsentBytes = unsentBytes
        }
    }

    package struct Subscription: Sendable, Equatable {
        package var filter: String
        package var qos: UInt8
        package var isNoLocal: Bool
        package var retainsAsPublished: Bool
        package var identifier: UInt32?

        package init(filter: String, qos: UInt8, isNoLocal: Bool, retainsAsPublished: Bool, identifier: UInt32?) {
            self.filter = filter
            self.qos = qos
            self.isNoLocal = isNoLocal
            self.retainsAsPublished = retainsAsPublished
            self.identifier = identifier
        }
    }

    package struct Will: Sendable, Equatable {
        package var topic: String
        package var delaySeconds: UInt32
        /// The client is gone, and the will waits for its time.
        package var isWaiting: Bool

        package init(topic: String, delaySeconds: UInt32, isWaiting: Bool) {
            self.topic = topic
            self.delaySeconds = delaySeconds
            self.isWaiting = isWaiting
        }
    }

    package var client: String
    package var connection: Connection?
    /// It outlives its connection, and a restart.
    package var isStored: Bool
    /// How long after the connection it ends.
    package var expirySeconds: UInt64
    /// Messages that are not acknowledged, those in flight included.
    package var queued: UInt64 = 0
    package var inFlight: UInt64 = 0
    /// QoS 2: what the client sent and has not released, and what it has and has not completed.
    package var unreleased = 0
    package var uncompleted = 0
    /// Nil where it was not asked for.
    package var subscriptions: [Subscription]?
    package var will: Will?

    package init(client: String, connection: Connection?, isStored: Bool, expirySeconds: UInt64) {
        self.client = client
        self.connection = connection
        self.isStored = isStored
        self.expirySeconds = expirySeconds
    }

    /// How the client is, in words.
    package var state: String {
        let kept =
            isStored ? "its session is kept for \(Self.length(expirySeconds)) after it" : "its session ends with it"
        guard let connection else {
            let waiting = queued == 0 ? "nothing waits" : queued == 1 ? "1 message waits" : "\(queued) messages wait"
            return "away: \(waiting) for its return, within \(Self.length(expirySeconds)) of its leaving"
        }
        if connection.unsentBytes > 0 {
            return "connected, and does not read: \(connection.unsentBytes) bytes wait to be sent; \(kept)"
        }
        if connection.window > 0, inFlight >= UInt64(connection.window) {
            return "connected, and has to acknowledge \(inFlight) messages before it gets more; \(kept)"
        }
        if inFlight > 0 {
            return "connected, and has \(inFlight) message\(inFlight == 1 ? "" : "s") to acknowledge; \(kept)"
        }
        return "connected, and has everything; \(kept)"
    }

    private static func length(_ seconds: UInt64) -> String {
        let units: [(UInt64, String)] = [(86_400, "d"), (3_600, "h"), (60, "m")]
        for (length, unit) in units where seconds > 0 && seconds % length == 0 { return "\(seconds / length)\(unit)" }
        return "\(seconds)s"
    }
}
