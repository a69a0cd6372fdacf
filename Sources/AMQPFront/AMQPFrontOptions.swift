package import AMQPProtocol

/// How the AMQP front serves its clients.
package struct AMQPFrontOptions: Sendable {
    /// What the connections' state machines are told.
    package var server: AMQPServerOptions
    /// Connections beyond this number are closed.
    package var maximumConnections = 100_000
    /// Bytes that may wait because a client does not read them; more of its messages are not taken from their queues.
    package var outgoingBufferBytes = 1 << 20

    package init(server: AMQPServerOptions) { self.server = server }
}
