import NIOCore
import Testing

@testable import MQTTProtocol

/// A connection's state machine with what the server has written, to read like a transcript.
struct Transcript {
    var machine: MQTTConnectionStateMachine
    private var output = ByteBuffer()
    var now: Int64 = 1_000

    init(_ options: MQTTServerOptions = MQTTServerOptions()) {
        machine = MQTTConnectionStateMachine(options: options, nowMilliseconds: now)
    }

    /// A connection that has been accepted, with CONNACK read.
    static func connected(
        _ version: ProtocolVersion,
        options: MQTTServerOptions = MQTTServerOptions(),
        isStored: Bool = false,
        configure: (inout ConnectPacket) -> Void = { _ in }
    ) -> Transcript {
        var transcript = Transcript(options)
        var connect = ConnectPacket(version: version, clientIdentifier: "c")
        configure(&connect)
        let action = transcript.receives(written { connect.encode(into: &$0) })
        guard case .authorize = action else {
            Issue.record("CONNECT was not accepted: \(action)")
            return transcript
        }
        var acceptance = ConnectAcceptance()
        acceptance.isSessionStored = isStored
        #expect(transcript.accepts(acceptance) == nil)
        _ = transcript.sent()
        return transcript
    }

    /// The client's bytes arrive; they must hold one packet or what can be judged without one.
    mutating func receives(_ bytes: [UInt8]) -> MQTTAction {
        bytes.withUnsafeBytes { raw in
            switch machine.nextPacket(raw, output: &output) {
            case .packet(let header): machine.received(header, raw, nowMilliseconds: now, output: &output)
            case .needMore, .paused: .none
            case .close(let end): .close(end)
            }
        }
    }

    mutating func receives(_ bytes: String) -> MQTTAction {
        receives(hex(bytes))
    }

    /// A PUBLISH arrives that must be accepted.
    mutating func publish(_ bytes: [UInt8]) throws -> InboundPublish {
        guard case .publish(let publish) = receives(bytes) else { throw Unexpected() }
        return publish
    }

    struct Unexpected: Error {}

    mutating func accepts(_ acceptance: ConnectAcceptance = ConnectAcceptance()) -> ConnectionEnd? {
        machine.accept(acceptance, nowMilliseconds: now, output: &output)
    }

    mutating func refuses(_ reason: ReasonCode) -> ConnectionEnd {
        machine.refuse(reason, output: &output)
    }

    mutating func completes(_ ticket: UInt64?, _ reason: ReasonCode = .success) -> ConnectionEnd? {
        guard let ticket else { return nil }
        let end = machine.completePublish(ticket, reason: reason, output: &output)
        machine.writeAcknowledgements(into: &output)
        return end
    }

    mutating func sends(
        _ topic: String,
        qos: QoS,
        token: UInt64,
        identifier: UInt16 = 0,
        payload: [UInt8] = [],
        retain: Bool = false
    ) -> DeliveryAdmission {
        Array(topic.utf8).withUnsafeBytes { topic in
            payload.withUnsafeBytes { payload in
                let message = OutboundPublish(
                    version: .v5,
                    qos: qos,
                    isRetained: retain,
                    topicRest: topic,
                    payload: payload
                )
                return machine.send(message, token: token, identifier: identifier, output: &output)
            }
        }
    }

    mutating func subscribed(_ identifier: UInt16, _ reasons: [ReasonCode]) {
        machine.subscribed(packetIdentifier: identifier, reasons: reasons, output: &output)
    }

    mutating func unsubscribed(_ identifier: UInt16, _ reasons: [ReasonCode]) {
        machine.unsubscribed(packetIdentifier: identifier, reasons: reasons, output: &output)
    }

    mutating func releases(_ identifier: UInt16) { machine.release(identifier, output: &output) }
    mutating func completesRelease(_ identifier: UInt16) {
        machine.completeRelease(identifier, output: &output)
    }
    mutating func resumes(_ identifier: UInt16, token: UInt64) {
        machine.resumeRelease(identifier, token: token, output: &output)
    }

    mutating func challenges(_ data: [UInt8]) -> ConnectionEnd? { machine.challenge(data, output: &output) }
    mutating func reauthenticated(_ data: [UInt8]) { machine.completeReauthentication(data, output: &output) }

    mutating func ends(_ reason: ReasonCode) -> ConnectionEnd {
        machine.end(reason, output: &output)
    }

    mutating func timerFires(after milliseconds: Int64) -> ConnectionEnd? {
        now += milliseconds
        return machine.timerFired(nowMilliseconds: now, output: &output)
    }

    /// What the server has written since it was asked last.
    mutating func sent() -> String {
        defer { output.clear() }
        return hexText(output.readableBytesView)
    }
}

extension MQTTServerOptions {
    /// A server that offers less than the protocol has: QoS 1, no retained messages, no sessions, no groups.
    static var reduced: MQTTServerOptions {
        var options = MQTTServerOptions()
        options.maximumQoS = .atLeastOnce
        options.isRetainAvailable = false
        options.isSharedSubscriptionAvailable = false
        options.maximumSessionExpirySeconds = 0
        return options
    }
}

/// A PUBLISH as a client writes it.
func publish(
    _ version: ProtocolVersion,
    _ topic: String = "a",
    qos: QoS = .atMostOnce,
    id: UInt16 = 0,
    retain: Bool = false,
    properties: String = "",
    payload: String = ""
) -> [UInt8] {
    var writer = PacketWriter()
    writer.write(MQTTString(topic))
    if qos != .atMostOnce { writer.write(id) }
    if version.hasProperties { writer.writeRaw([UInt8(hex(properties).count)] + hex(properties)) }
    writer.writeRaw(payload.utf8)
    return packet(0x30 | qos.rawValue << 1 | (retain ? 1 : 0), writer.bytes)
}
