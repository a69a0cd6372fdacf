package import AMQPProtocol
package import Credentials

/// How the AMQP front serves its clients.
package struct AMQPFrontOptions: Sendable {
    /// What the connections' state machines are told.
    package var server: AMQPServerOptions
    /// Connections beyond this number are closed.
    package var maximumConnections = 100_000
    /// Bytes that may wait because a client does not read them; more of its messages are not taken from their queues.
    package var outgoingBufferBytes = 1 << 20
    /// Who can log in, by name; empty: everybody.
    package var users: [String: ScramCredential] = [:]

    package init(server: AMQPServerOptions) { self.server = server }

    /// Messages and bytes of one connection that storage has not answered: beyond, the connection is not read.
    static let unansweredMessages = 65_536
    static let unansweredBytes = 16 << 20
    /// What may come behind a method that waits for its answer before the connection is not read any more.
    static let waitingBytes = 256 << 10
    /// Credit of a consumer without a prefetch count, in messages.
    static let unboundedCredit: UInt64 = 1 << 40
    /// The least credit of a consumer in bytes, however many a connection has.
    static let leastCreditBytes = 64 << 10
    /// After a farewell the connection is read and discarded for so long: closing at once would reset it, and the
    /// client would never read why.
    static let lingerMilliseconds: Int64 = 1_000
}
