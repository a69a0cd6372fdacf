/// The outcome of one step: how many bytes are used up, and what the owner is to do. Replies are already in the output.
package struct AMQPStep: Sendable, Hashable {
    /// Bytes to be taken off the front, after the action has been carried out: a published message lies in them.
    package var consumed: Int
    package var action: AMQPAction
}

package enum AMQPAction: Sendable, Hashable {
    /// Go on with the next bytes.
    case none
    /// So many bytes from the first unread one are needed at least.
    case needMore(total: Int)
    /// An answer of the owner is awaited first: keep the bytes, and come back when it was given.
    case paused
    /// The connection is closing: throw away what arrives, without looking at it.
    case discard
    /// Find out who this is, then call `authenticated`, `challenge` or `refuseLogin`.
    case authenticate(SASLResponse)
    /// Call `openedVirtualHost`, or `fail` with 530.
    case openVirtualHost(ShortString)
    /// Call `updatedSecret`, or `fail` with `secretRefused`.
    case updateSecret(ConnectionUpdateSecret)
    case channelOpened(UInt16)
    case channel(UInt16, ChannelAction)
    /// The client closes: let go of all that belongs to the connection, then call `completeClose`.
    case closeRequested(CloseMethod)
    /// The server has closed: let go of all that belongs to the connection, and keep it until `close` comes.
    case failed(AMQPError)
    /// Write the output, then hang up.
    case close(ConnectionEnd)
}

/// Why a connection ends.
package enum ConnectionEnd: Sendable, Hashable {
    /// It speaks another protocol, and was told which one is spoken here.
    case unknownProtocol
    case handshakeTimeout
    case loginRefused
    case closedByClient(CloseMethod)
    /// Closed by the server: the client has agreed, or did not in time.
    case closedByServer(AMQPError)
    /// Nothing arrived for two heartbeats.
    case heartbeatTimeout
    /// The transport is gone.
    case lost
}
