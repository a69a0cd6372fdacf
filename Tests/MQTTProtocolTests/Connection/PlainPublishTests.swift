import NIOCore
import Testing

@testable import MQTTProtocol

@Suite("The short way of messages from the client")
struct PlainPublishTests {
    private let topic = Array("plant/line/7".utf8)

    private func take(_ bytes: [UInt8], _ machine: inout MQTTConnectionStateMachine) -> PlainPublish? {
        bytes.withUnsafeBytes { bytes in
            topic.withUnsafeBytes { machine.receivedPlainPublish(bytes, topic: $0, nowMilliseconds: 1_000) }
        }
    }

    @Test("a message of each quality is taken under a name that is known")
    func plain() throws {
        for version in ProtocolVersion.allCases {
            for qos in QoS.allCases {
                var machine = Transcript.connected(version).machine
                let bytes = publish(version, "plant/line/7", qos: qos, id: 9, payload: "on")
                let taken = try #require(take(bytes + [0x30], &machine))
                #expect(taken.totalLength == bytes.count && taken.qos == qos)
                #expect(bytes[taken.payloadRange].elementsEqual("on".utf8))
                #expect(machine.pendingAcknowledgementCount == (qos == .atMostOnce ? 0 : 1))
            }
        }
    }

    @Test("what is not whole, has another name or breaks a rule is left to the usual way")
    func special() {
        let usual = publish(.v5, "plant/line/7", qos: .atLeastOnce, id: 9, payload: "on")
        var machine = Transcript.connected(.v5).machine
        for count in 0..<usual.count { #expect(take(Array(usual[..<count]), &machine) == nil) }
        #expect(take(publish(.v5, "plant/line/8", payload: "on"), &machine) == nil)
        #expect(take(publish(.v5, "plant/line", payload: "/7on"), &machine) == nil)
        var wrong = usual
        wrong[0] = 0x36
        #expect(take(wrong, &machine) == nil)
        wrong[0] = 0x38
        #expect(take(wrong, &machine) == nil)
        wrong = usual
        wrong.replaceSubrange(16...17, with: [0, 0])
        #expect(take(wrong, &machine) == nil)
        #expect(machine.pendingAcknowledgementCount == 0)
        var reduced = Transcript.connected(.v5, options: .reduced).machine
        #expect(take(publish(.v5, "plant/line/7", qos: .exactlyOnce, id: 1, payload: "on"), &reduced) == nil)
    }

    @Test("it takes nothing that the usual way refuses, and leaves the same behind")
    func asTheUsualWay() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        var taken = 0
        for _ in 0..<20_000 {
            let version = ProtocolVersion.allCases.randomElement(using: &random) ?? .v5
            var options = MQTTServerOptions()
            options.receiveMaximum = 2
            options.limits.maximumPacketSize = Bool.random(using: &random) ? 64 : 1 << 20
            var short = Transcript.connected(version, options: options)
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let bytes = packet(version, &random)
                var long = short
                var trial = short.machine
                guard let plain = take(bytes, &trial) else {
                    // Nothing has happened: it goes on as it was.
                    #expect(trial.pendingAcknowledgementCount == short.machine.pendingAcknowledgementCount)
                    if case .close = short.receives(bytes) { break }
                    continue
                }
                taken += 1
                guard case .publish(let usual) = long.receives(bytes) else {
                    Issue.record("seed \(seed): the usual way refuses \(hexText(bytes))")
                    return
                }
                let isSame =
                    usual.view.payloadRange == plain.payloadRange && usual.view.qos == plain.qos
                    && usual.isRetained == plain.isRetained && usual.resolvedAlias == 0
                    && usual.ticket == (plain.qos == .atMostOnce ? nil : plain.ticket)
                    && bytes[usual.view.topicRange].elementsEqual(topic)
                #expect(isSame, "seed \(seed): \(hexText(bytes))")
                short.machine = trial
                let isStored = Bool.random(using: &random)
                if isStored, let ticket = usual.ticket {
                    #expect(short.completes(ticket) == nil && long.completes(ticket) == nil)
                }
                #expect(short.sent() == long.sent(), "seed \(seed): \(hexText(bytes))")
                #expect(short.machine.receivedIdentifiers == long.machine.receivedIdentifiers, "seed \(seed)")
            }
        }
        #expect(taken > 2_000, "seed \(seed): most must be plain")
    }

    /// A PUBLISH, mostly a good one.
    private func packet(_ version: ProtocolVersion, _ random: inout SplitMix64) -> [UInt8] {
        let name = Int.random(in: 0..<8, using: &random) == 0 ? "plant/line/8" : "plant/line/7"
        let payload = String(repeating: "x", count: [0, 3, 40, 130, 20_000].randomElement(using: &random) ?? 0)
        let qos = QoS.allCases.randomElement(using: &random) ?? .atMostOnce
        var bytes = publish(version, name, qos: qos, id: UInt16.random(in: 1...3, using: &random), payload: payload)
        if Bool.random(using: &random) { bytes[0] ^= 1 << UInt8.random(in: 0..<4, using: &random) }
        if Int.random(in: 0..<4, using: &random) == 0 {
            bytes[Int.random(in: 0..<min(bytes.count, 24), using: &random)] = UInt8.random(in: 0...255, using: &random)
        }
        if Int.random(in: 0..<8, using: &random) == 0 { bytes.removeLast() }
        return bytes
    }
}
