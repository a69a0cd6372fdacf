package import MessageModel

/// The server's side of one connection: who may say what when. A value; the handler around it reads, asks and writes.
package struct ServerSession {
    package enum Phase: Equatable, Sendable {
        case preamble
        case hello
        case open
        /// GOAWAY is sent: what runs is finished, nothing new begins.
        case draining
        case closed
    }

    /// What is to be done with a frame.
    package enum Admission: Equatable {
        case hello
        case request(Opcode)
        case produce
        case credit
        case cancel
        case ping
        /// Nothing: an answer to the server's own ping.
        case ignore
        /// An answer with this error; the connection goes on.
        case refuse(SluiceError)
        /// GOAWAY with this error, then the end.
        case fatal(SluiceError)
    }

    package private(set) var phase = Phase.preamble
    /// The largest length field that is accepted now.
    package private(set) var frameLimit = NativeLimits.frameBytesBeforeHello
    /// The largest length field that the client accepts.
    package private(set) var clientFrameLimit = NativeLimits.smallestFrameBytes
    package private(set) var clientName = ""
    /// What the client speaks newer than version 1.
    private var clientVersions: [UInt16: UInt16] = [:]
    private let limits: HelloResponse.ServerLimits

    package init(limits: HelloResponse.ServerLimits) { self.limits = limits }

    /// The preamble has come.
    /// - Returns: nil where it is answered with the server's own; otherwise the connection ends, with GOAWAY where the
    ///   other side speaks the protocol at all.
    package mutating func receivedPreamble(_ bytes: UnsafeRawBufferPointer) -> (error: SluiceError, isNative: Bool)? {
        guard phase == .preamble, let preamble = Preamble(bytes) else {
            phase = .closed
            return (SluiceError(.protocolViolation, "the connection does not begin with the preamble"), false)
        }
        guard preamble.major == Preamble.majorVersion else {
            phase = .closed
            let error = SluiceError(
                .versionNotSupported,
                "major version \(preamble.major) is not spoken here",
                hint: "this server speaks major version \(Preamble.majorVersion)"
            )
            return (error, true)
        }
        phase = .hello
        return nil
    }

    /// Decides about a frame by its header.
    @inline(__always)
    package func admit(_ header: FrameHeader) -> Admission {
        if phase == .open, header.rawKind == FrameKind.request.rawValue,
            header.rawOpcode == Opcode.produce.rawValue
        {
            return .produce
        }
        return admitOther(header)
    }

    private func admitOther(_ header: FrameHeader) -> Admission {
        guard let kind = header.kind else {
            return .fatal(SluiceError(.protocolViolation, "frame kind \(header.rawKind) is not known"))
        }
        switch phase {
        case .preamble, .closed:
            return .fatal(SluiceError(.protocolViolation, "the connection does not begin with the preamble"))
        case .hello:
            guard kind == .request, header.opcode == .hello else {
                return .fatal(SluiceError(.protocolViolation, "the first frame is not HELLO"))
            }
            return .hello
        case .open, .draining:
            break
        }
        switch kind {
        case .request: return admitRequest(header)
        case .credit: return .credit
        case .cancel: return .cancel
        case .ping: return .ping
        case .pong: return .ignore
        case .goaway: return .ignore
        case .response, .push:
            return .fatal(SluiceError(.protocolViolation, "a client does not send frames of kind \(kind)"))
        }
    }

    private func admitRequest(_ header: FrameHeader) -> Admission {
        guard let opcode = header.opcode else {
            let number = String(header.rawOpcode, radix: 16)
            return .refuse(SluiceError(.notSupported, "opcode 0x\(number) is not known"))
        }
        switch opcode {
        case .hello: return .fatal(SluiceError(.protocolViolation, "HELLO was sent twice"))
        case .produceAck, .credit, .deliver, .detached, .consumerChanged, .topicNamed, .transactionCheck, .goaway,
            .ping,
            .cancel:
            return .refuse(SluiceError(.malformed, "\(opcode.name) is not a request"))
        case .auth:
            return .refuse(
                SluiceError(
                    .notSupported,
                    "authentication is not there yet: every client is the default tenant",
                    hint: "leave AUTH out"
                )
            )
        case .health, .openProducer, .produce, .closeProducer, .subscribe, .unsubscribe, .fetch, .findOffset, .watch,
            .unwatch, .commit, .acknowledge, .release, .extendLease, .reject, .seek, .pause, .settleReceipts,
            .beginTransaction, .commitTransaction, .rollBackTransaction, .settleInTransaction, .adoptTransactions,
            .setRetained, .getRetained, .scanRetained, .cancelScheduled, .lookUp, .browse, .redrive, .putSessionState,
            .getSessionState, .createTopic, .deleteTopic, .describeTopic, .listTopics, .createSubscription,
            .deleteSubscription, .describeSubscription, .listSubscriptions, .updateSubscription, .bind, .unbind,
            .listBindings:
            break
        }
        guard opcode.isSupported else {
            return .refuse(SluiceError(.notSupported, "\(opcode.name) is not there yet"))
        }
        if phase == .draining, !Self.finishesWork(opcode) {
            return .refuse(SluiceError(.shuttingDown, "the server is shutting down", hint: "connect again"))
        }
        return opcode == .produce ? .produce : .request(opcode)
    }

    /// What may still be asked while the server shuts down.
    private static func finishesWork(_ opcode: Opcode) -> Bool {
        switch opcode {
        case .commit, .unsubscribe, .closeProducer, .acknowledge, .release, .extendLease, .reject, .settleReceipts,
            .settleInTransaction, .commitTransaction, .rollBackTransaction:
            true
        default: false
        }
    }

    /// The version of an opcode's body that both sides speak.
    package func version(_ opcode: Opcode) -> UInt16 {
        min(opcode.version, max(1, clientVersions[opcode.rawValue] ?? 1))
    }

    /// HELLO has been read.
    /// - Throws: what ends the connection.
    package mutating func receivedHello(
        _ hello: HelloRequest,
        serverName: String,
        serverVersion: String
    ) throws(SluiceError) -> HelloResponse {
        guard hello.minVersion <= NativeLimits.version, hello.maxVersion >= NativeLimits.version else {
            throw SluiceError(
                .versionNotSupported,
                "versions \(hello.minVersion) to \(hello.maxVersion) are not spoken here",
                hint: "this server speaks version \(NativeLimits.version)"
            )
        }
        guard hello.maxFrameBytes >= NativeLimits.smallestFrameBytes else {
            throw SluiceError(
                .invalidArgument,
                "a client accepts frames of at least \(NativeLimits.smallestFrameBytes) bytes"
            )
        }
        phase = .open
        frameLimit = Int(limits.maxFrameBytes)
        clientFrameLimit = Int(hello.maxFrameBytes)
        clientName = hello.clientName
        for entry in hello.opcodes where entry.version > 1 { clientVersions[entry.opcode] = entry.version }
        return HelloResponse(
            features: 0,
            limits: limits,
            serverName: serverName,
            serverVersion: serverVersion
        )
    }

    package mutating func drain() {
        if phase == .open { phase = .draining }
    }

    package mutating func close() { phase = .closed }
}
