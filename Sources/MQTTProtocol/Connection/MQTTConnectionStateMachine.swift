package import NIOCore

/// The server's side of one MQTT connection, from its opening to its end: what arrives goes in with the time it
/// arrived, replies are appended to the caller's output, and what is beyond the protocol comes back as an action.
///
/// The owner shows it the received bytes with `nextPacket`, passes PUBLISH to `receivedPublish`, acknowledgements to
/// `receivedAcknowledgement` and everything else to `received`, and writes the output once per tick. For many packets
/// in one read, borrow machine and output once (`inout`), not for each packet out of a class: the exclusivity checks
/// cost as much as the decoding. Times are milliseconds of any clock that does not go back.
package struct MQTTConnectionStateMachine: Sendable {
    /// Where the connection stands. What each phase needs lies beside it and not inside, so that a message
    /// moves no more than it changes.
    enum Phase: Sendable, Hashable {
        /// Nothing has arrived that counts.
        case awaitingConnect
        /// CONNECT is with the owner, who has not answered.
        case authorizing
        case connected
        /// Nothing more is read or written.
        case ended
    }

    /// What CONNECT said about the client, as far as it matters later.
    struct Client: Sendable {
        var identifier = MQTTString([])
        var sessionExpirySeconds: UInt32 = 0
        /// What CONNECT asked for: DISCONNECT may not turn zero into something.
        var requestedSessionExpirySeconds: UInt32 = 0
        /// DISCONNECT said otherwise than CONNECT.
        var hasChangedSessionExpiry = false
        var topicAliasMaximum: UInt16 = 0
        var receiveMaximum: UInt16 = .max
        var maximumPacketSize = Int.max
        var requestsProblemInformation = true
        var keepAliveSeconds: UInt16 = 0
        var offeredWill: KeptWill?
        /// The method of enhanced authentication that CONNECT named.
        var authenticationMethod: MQTTString?
    }

    /// Whose turn it is in enhanced authentication (MQTT 5.0 §4.12).
    enum Authentication: Sendable {
        case none
        /// The owner looks at what the client said.
        case server
        /// AUTH is awaited.
        case client
    }

    private let shared: MQTTServerOptions.Shared
    var options: MQTTServerOptions { shared.options }
    var phase = Phase.awaitingConnect
    var framer: PacketFramer
    var context: DecodingContext { DecodingContext(version: version, sender: .client, limits: shared.options.limits) }
    var client = Client()
    var will: KeptWill?
    var pending = PendingAcknowledgements()
    var exchanges = InboundExchanges()
    var authentication = Authentication.none
    var isSessionStored = false
    var aliases = InboundTopicAliases()
    var window = OutboundWindow(limit: 0)
    var outboundAliases = OutboundTopicAliases()
    let openedMilliseconds: Int64
    var lastPacketMilliseconds: Int64

    /// A will where connections that have none have no room for it.
    final class KeptWill: Sendable {
        let will: Will
        init(_ will: Will) { self.will = will }
    }

    /// - Parameter nowMilliseconds: when the connection was opened.
    package init(options: MQTTServerOptions, nowMilliseconds: Int64) {
        self.init(sharing: MQTTServerOptions.Shared(options), nowMilliseconds: nowMilliseconds)
    }

    /// - Parameters:
    ///   - shared: the options of all connections.
    ///   - nowMilliseconds: when the connection was opened.
    package init(sharing shared: MQTTServerOptions.Shared, nowMilliseconds: Int64) {
        let options = shared.options
        self.shared = shared
        self.framer = PacketFramer(maximumPacketSize: options.limits.maximumConnectSize, version: nil)
        self.openedMilliseconds = nowMilliseconds
        self.lastPacketMilliseconds = nowMilliseconds
    }

    /// In stored sessions identifiers from here on are given by this machine, those below by the owner.
    package static let firstOwnIdentifier: UInt16 = 0x8000

    /// The version of the connection; 3.1.1 until CONNECT has said.
    package internal(set) var version = ProtocolVersion.v3_1_1
    package var isConnected: Bool { phase == .connected }
    package var hasEnded: Bool { phase == .ended }
    /// The client's identifier, or the one assigned to it; empty before `accept`.
    package var clientIdentifier: MQTTString { client.identifier }
    /// Seconds the session is to be kept after the connection.
    package var sessionExpirySeconds: UInt32 { client.sessionExpirySeconds }
    /// DISCONNECT said how long, and not what CONNECT had said.
    package var hasChangedSessionExpiry: Bool { client.hasChangedSessionExpiry }
    /// The client's keep alive, or the one that it was told; zero for none.
    package var keepAliveSeconds: UInt16 { client.keepAliveSeconds }
    /// What is published if the client goes without a farewell.
    package var currentWill: Will? { will?.will }
    /// Messages to the client carry topic aliases: their encodings are its own.
    package var usesTopicAliases: Bool { outboundAliases.maximum > 0 }
    /// QoS 1 and 2 messages that may be in flight to the client.
    package var deliveryLimit: Int { window.limit }

    /// When `timerFired` is to be called at the latest; nil when no time counts. It moves with every packet, so a
    /// timer that fires early asks again instead of being reset each time.
    package var deadlineMilliseconds: Int64? {
        switch phase {
        case .awaitingConnect, .authorizing: openedMilliseconds + options.connectTimeoutMilliseconds
        case .connected:
            client.keepAliveSeconds == 0 ? nil : lastPacketMilliseconds + Int64(client.keepAliveSeconds) * 1_500
        case .ended: nil
        }
    }

    /// `deadlineMilliseconds` for owners that keep the machine in an object: a getter of another module copies all of it.
    package mutating func nextDeadline() -> Int64? { deadlineMilliseconds }

    /// Looks for the next packet at the beginning of `bytes`, the received bytes not yet used.
    package mutating func nextPacket(
        _ bytes: UnsafeRawBufferPointer,
        output: inout ByteBuffer
    ) -> MQTTFraming {
        switch phase {
        case .ended: return .paused
        case .authorizing:
            // Of a client that authenticates AUTH is awaited, and nothing else is read.
            guard authentication == .client else { return .paused }
        case .awaitingConnect:
            // Whoever speaks another protocol is not waited for.
            if let first = bytes.first, first >> 4 != PacketType.connect.rawValue {
                return .close(violated(.firstPacketNotConnect, &output))
            }
        case .connected: break
        }
        switch framer.next(bytes) {
        case .packet(let header): return .packet(header)
        case .needMore(let total): return .needMore(total: total)
        case .invalid(let error): return .close(violated(error, &output))
        }
    }

    /// Takes one packet. PUBLISH and acknowledgements may come here too; `receivedPublish` and
    /// `receivedAcknowledgement` are the shorter way.
    ///
    /// - Parameters:
    ///   - header: as `nextPacket` returned it.
    ///   - bytes: the packet from its first byte on; may extend beyond it.
    package mutating func received(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        nowMilliseconds: Int64,
        output: inout ByteBuffer
    ) -> MQTTAction {
        switch phase {
        case .ended: return .none
        case .awaitingConnect:
            guard header.type == .connect else { return .close(violated(.firstPacketNotConnect, &output)) }
            return receivedConnect(header, bytes, &output)
        case .authorizing:
            return receivedAuthorizing(header, bytes, &output)
        case .connected:
            switch header.type {
            case .publish:
                switch receivedPublish(header, bytes, nowMilliseconds: nowMilliseconds, output: &output) {
                case .accept(let publish): return .publish(publish)
                case .duplicate: return .none
                case .close(let end): return .close(end)
                }
            case .puback, .pubrec, .pubrel, .pubcomp:
                switch receivedAcknowledgement(header, bytes, nowMilliseconds: nowMilliseconds, output: &output) {
                case .none: return .none
                case .acknowledged(let token, let reason): return .acknowledged(token: token, reason: reason)
                case .received(let identifier, let token):
                    return .received(packetIdentifier: identifier, token: token)
                case .released(let identifier): return .released(packetIdentifier: identifier)
                case .close(let end): return .close(end)
                }
            case .connect, .connack, .subscribe, .suback, .unsubscribe, .unsuback, .pingreq, .pingresp, .disconnect,
                .auth:
                break
            }
            lastPacketMilliseconds = nowMilliseconds
            do throws(MQTTProtocolError) {
                return try receivedConnected(header, bytes, &output)
            } catch {
                return .close(violated(error, &output))
            }
        }
    }

    private mutating func receivedConnected(
        _ header: PacketHeader,
        _ bytes: UnsafeRawBufferPointer,
        _ output: inout ByteBuffer
    ) throws(MQTTProtocolError) -> MQTTAction {
        switch header.type {
        case .subscribe:
            return .subscribe(judge(try SubscribePacket.decode(header, bytes, context: context)))
        case .unsubscribe:
            return .unsubscribe(try UnsubscribePacket.decode(header, bytes, context: context))
        case .pingreq:
            try PingPacket.validate(header)
            PingPacket.encodeResponse(into: &output)
            return .none
        case .disconnect:
            return try receivedDisconnect(header, bytes)
        case .auth where !version.hasProperties:
            throw .reservedPacketType
        case .auth:
            return try receivedAuth(header, bytes)
        case .connect, .connack, .publish, .puback, .pubrec, .pubrel, .pubcomp, .suback, .unsuback, .pingresp:
            // A second CONNECT, or a server's packet.
            throw .unexpectedPacket
        }
    }

    /// To be called when the deadline has come.
    ///
    /// - Returns: how the connection ends, or nil if there is time left.
    package mutating func timerFired(nowMilliseconds: Int64, output: inout ByteBuffer) -> ConnectionEnd? {
        guard let deadline = deadlineMilliseconds, nowMilliseconds >= deadline else { return nil }
        switch phase {
        case .awaitingConnect: return violated(.connectTimeout, &output)
        case .authorizing: return refuse(.serverUnavailable, output: &output)
        case .connected: return violated(.keepAliveTimeout, &output)
        case .ended: return nil
        }
    }
}
