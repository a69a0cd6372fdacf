import NIOCore
import Testing

@testable import MQTTProtocol

@Suite("Subscriptions")
struct SubscribeTests {
    func subscribe(_ version: ProtocolVersion, _ filters: [(String, UInt8)], properties: String = "") -> [UInt8] {
        let section = version.hasProperties ? [UInt8(hex(properties).count)] + hex(properties) : []
        return packet(0x82, [0, 9] + section + filters.flatMap { text($0.0) + [$0.1] })
    }

    @Test("the QoS granted is the least of asked and offered")
    func granted() throws {
        for version in ProtocolVersion.allCases {
            var server = Transcript.connected(version, options: .reduced)
            let action = server.receives(subscribe(version, [("a", 0), ("b/+", 1), ("#", 2)]))
            guard case .subscribe(let subscribe) = action else { throw Transcript.Unexpected() }
            #expect(subscribe.reasons == [.success, .grantedQoS1, .grantedQoS1])
            #expect(server.sent() == "")
            server.subscribed(9, subscribe.reasons)
            #expect(server.sent() == (version == .v5 ? "90 06 00 09 00 00 01 01" : "90 05 00 09 00 01 01"))
        }
    }

    @Test("shared subscriptions are refused with 0x9E in 5.0 and 0x80 in 3.1.1")
    func shared() throws {
        for (version, answer) in [(ProtocolVersion.v5, "90 05 00 09 00 9E 00"), (.v3_1_1, "90 04 00 09 80 00")] {
            var server = Transcript.connected(version, options: .reduced)
            let action = server.receives(subscribe(version, [("$share/g/a", 1), ("a", 0)]))
            guard case .subscribe(let subscribe) = action else { throw Transcript.Unexpected() }
            #expect(subscribe.reasons == [.sharedSubscriptionsNotSupported, .success])
            server.subscribed(9, subscribe.reasons)
            #expect(server.sent() == answer)
        }
    }

    @Test("what a server has switched off is refused with its own reason")
    func switchedOff() throws {
        var options = MQTTServerOptions()
        options.isWildcardSubscriptionAvailable = false
        options.isSubscriptionIdentifierAvailable = false
        var server = Transcript.connected(.v5, options: options)
        guard case .subscribe(let first) = server.receives(subscribe(.v5, [("a/#", 1), ("$share/g/a", 0)])),
            case .subscribe(let second) = server.receives(subscribe(.v5, [("a", 0)], properties: "0B 01"))
        else { throw Transcript.Unexpected() }
        #expect(first.reasons == [.wildcardSubscriptionsNotSupported, .success])
        #expect(second.reasons == [.subscriptionIdentifiersNotSupported])
    }

    @Test("the subscription identifier and the options reach the owner")
    func options() throws {
        var server = Transcript.connected(.v5)
        let action = server.receives(subscribe(.v5, [("a", 0x2D)], properties: "0B 05"))
        guard case .subscribe(let subscribe) = action else { throw Transcript.Unexpected() }
        #expect(subscribe.packet.subscriptionIdentifier == 5)
        let request = subscribe.packet.subscriptions[0]
        #expect(request.isNoLocal && request.retainsAsPublished && request.retainHandling == .doNotSend)
    }

    @Test("a malformed filter ends the connection", arguments: ["a/#/b", "a+", "$share//a", ""])
    func malformed(_ filter: String) {
        var new = Transcript.connected(.v5)
        #expect(new.receives(subscribe(.v5, [(filter, 0)])) == .close(.violation(.malformedTopicFilter)))
        #expect(new.sent() == "E0 01 81")
        var old = Transcript.connected(.v3_1_1)
        #expect(old.receives(subscribe(.v3_1_1, [(filter, 0)])) == .close(.violation(.malformedTopicFilter)))
        #expect(old.sent() == "")
    }

    @Test("UNSUBSCRIBE is answered for each filter in 5.0, with nothing in 3.1.1")
    func unsubscribe() throws {
        for (version, answer) in [(ProtocolVersion.v5, "B0 05 00 08 00 00 11"), (.v3_1_1, "B0 02 00 08")] {
            var server = Transcript.connected(version)
            let bytes = packet(0xA2, [0, 8] + (version == .v5 ? [0] : []) + text("a") + text("$share/g/b"))
            guard case .unsubscribe(let unsubscribe) = server.receives(bytes) else { throw Transcript.Unexpected() }
            #expect(unsubscribe.filters.map(\.text) == ["a", "$share/g/b"])
            server.unsubscribed(8, [.success, .noSubscriptionExisted])
            #expect(server.sent() == answer)
        }
    }

    @Test("a client that wants no problem information gets no reason string")
    func problemInformation() {
        for (wants, answer) in [(true, "90 09 00 09 05 1F 00 02 6E 6F 80"), (false, "90 04 00 09 00 80")] {
            let server = Transcript.connected(.v5) { $0.properties.requestsProblemInformation = wants }
            var output = ByteBuffer()
            server.machine.subscribed(
                packetIdentifier: 9,
                reasons: [.unspecifiedError],
                diagnostics: Diagnostics(reasonString: "no"),
                output: &output
            )
            #expect(hexText(output.readableBytesView) == answer)
        }
    }
}
