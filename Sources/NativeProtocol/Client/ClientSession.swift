package import MessageModel

/// The client's side of one connection: the handshake, and what each frame that comes is. A value without a socket.
package struct ClientSession {
    package enum Phase: Equatable, Sendable {
        case preamble
        case hello
        case ready
        /// The server has said that it ends the connection.
        case goingAway
        case closed
    }

    package enum Event {
        case ready(HelloResponse)
        case response
        case push(Opcode)
        case ping
        /// Nothing to do.
        case ignore
        /// The server ends the connection; what is on its way may still be answered.
        case goaway(SluiceError)
        /// The connection cannot go on.
        case fatal(SluiceError)
    }

    /// The correlation of HELLO.
    package static let helloCorrelation: UInt32 = 0

    package private(set) var phase = Phase.preamble
    /// The largest length field that is accepted.
    package let frameLimit: Int

    package init(frameLimit: Int = NativeLimits.frameBytes) { self.frameLimit = frameLimit }

    /// - Returns: nil where the server speaks the protocol.
    package mutating func receivedPreamble(_ bytes: UnsafeRawBufferPointer) -> SluiceError? {
        guard phase == .preamble, let preamble = Preamble(bytes) else {
            phase = .closed
            return SluiceError(
                .protocolViolation,
                "the other side does not speak the native protocol",
                hint: "check the port: the native protocol has its own"
            )
        }
        // With another major version the server says so in the GOAWAY that follows.
        _ = preamble.major
        phase = .hello
        return nil
    }

    package mutating func received(_ frame: Frame) -> Event {
        guard let kind = frame.header.kind else {
            return fatal("frame kind \(frame.header.rawKind) is not known")
        }
        if kind == .goaway {
            var reader = WireReader(frame.body)
            let error = frame.readStatus(&reader)?.error
            phase = .goingAway
            return .goaway(error ?? SluiceError(.shuttingDown, "the server ends the connection"))
        }
        switch phase {
        case .preamble, .closed:
            return fatal("a frame came before the preamble")
        case .hello:
            return receivedHello(frame, kind)
        case .ready, .goingAway:
            break
        }
        switch kind {
        case .response: return .response
        case .push:
            guard let opcode = frame.header.opcode else { return .ignore }
            return .push(opcode)
        case .ping: return .ping
        case .pong, .goaway: return .ignore
        case .request, .credit, .cancel: return fatal("a server does not send frames of kind \(kind)")
        }
    }

    private mutating func receivedHello(_ frame: Frame, _ kind: FrameKind) -> Event {
        guard kind == .response, frame.header.opcode == .hello else { return fatal("the first frame is no HELLO") }
        var reader = WireReader(frame.body)
        guard let (_, error) = frame.readStatus(&reader) else { return fatal("the answer to HELLO is malformed") }
        if let error {
            phase = .closed
            return .fatal(error)
        }
        guard let response = HelloResponse(&reader) else { return fatal("the answer to HELLO is malformed") }
        guard response.version == NativeLimits.version else {
            phase = .closed
            return .fatal(SluiceError(.versionNotSupported, "the server chose version \(response.version)"))
        }
        phase = .ready
        return .ready(response)
    }

    package mutating func close() { phase = .closed }

    private mutating func fatal(_ message: String) -> Event {
        phase = .closed
        return .fatal(SluiceError(.protocolViolation, message))
    }
}
