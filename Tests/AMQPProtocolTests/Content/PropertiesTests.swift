import NIOCore
import Testing

@testable import AMQPProtocol

@Suite("Properties")
struct PropertiesTests {
    static var full: BasicProperties {
        var properties = BasicProperties()
        properties.contentType = "text/plain"
        properties.contentEncoding = ""
        properties.headers = ["a": .int32(1), "x-death": .array(FieldArray([.void]))]
        properties.deliveryMode = 2
        properties.priority = 9
        properties.correlationID = "c-1"
        properties.replyTo = "back"
        properties.expiration = "60000"
        properties.messageID = "m-1"
        properties.timestamp = 1_700_000_000
        properties.type = "t"
        properties.userID = "guest"
        properties.appID = "app"
        properties.clusterID = "old"
        return properties
    }

    @Test("all fourteen come back, an empty one is not an absent one")
    func roundTrip() {
        let encoded = Self.full.encoded()
        #expect(encoded[0...1] == [0xFF, 0xFC])
        encoded.withUnsafeBytes { bytes in
            let view = PropertiesView(validated: bytes)
            #expect(BasicProperties(view) == Self.full)
            #expect(view.isPersistent && view.priority == 9 && view.timestamp == 1_700_000_000)
            #expect(view.value(.contentEncoding)?.count == 0)
            #expect(view.headers?.value("a") == .int32(1))
            #expect(throws: Never.self) { try PropertiesView.validate(bytes, depth: 4) }
        }
        let none = BasicProperties().encoded()
        #expect(none == [0, 0])
        none.withUnsafeBytes { #expect(PropertiesView(validated: $0).value(.contentEncoding) == nil) }
    }

    @Test("each property alone is found", arguments: BasicProperty.allCases)
    func single(_ property: BasicProperty) {
        Self.full.encoded().withUnsafeBytes { bytes in
            let view = PropertiesView(validated: bytes)
            var changes = PropertyChanges()
            for other in BasicProperty.allCases where other != property { changes.remove(other) }
            changes.applied(to: view).withUnsafeBytes { only in
                let single = PropertiesView(validated: only)
                #expect(single.flags == property.flag)
                #expect(single.value(property).map(Array.init) == view.value(property).map(Array.init))
                #expect(throws: Never.self) { try PropertiesView.validate(only, depth: 4) }
            }
        }
    }

    @Test("changes leave the bytes of everything else")
    func changes() {
        Self.full.encoded().withUnsafeBytes { bytes in
            let view = PropertiesView(validated: bytes)
            #expect(PropertyChanges().applied(to: view) == Array(bytes))
            var changes = PropertyChanges()
            changes.remove(.expiration)
            changes.setHeaders(["b": .boolean(true)])
            changes.set(.replyTo, "elsewhere")
            var expected = Self.full
            expected.expiration = nil
            expected.headers = ["b": .boolean(true)]
            expected.replyTo = "elsewhere"
            #expect(changes.applied(to: view) == expected.encoded())
        }
        [0, 0].withUnsafeBytes { bytes in
            var changes = PropertyChanges()
            changes.set(.deliveryMode, 2)
            changes.set(.contentType, "x")
            #expect(
                changes.applied(to: PropertiesView(validated: bytes)) == [0x90, 0, 1, UInt8(ascii: "x"), 2]
            )
        }
    }

    @Test("properties cut short, flags that do not exist, and bytes left over are refused")
    func malformed() {
        let encoded = Self.full.encoded()
        for count in 0..<encoded.count {
            #expect(throws: WireError.self) {
                try Array(encoded[..<count]).withUnsafeBytes { try PropertiesView.validate($0, depth: 4) }
            }
        }
        for bytes: [UInt8] in [[0, 1], [0, 2], encoded + [0], [0x20, 0, 0, 0, 0, 2, 1, 0x61]] {
            #expect(throws: WireError.self) {
                try bytes.withUnsafeBytes { try PropertiesView.validate($0, depth: 4) }
            }
        }
    }

    @Test(
        "an expiration is a decimal number from zero on",
        arguments: [
            ("0", 0, ""), ("60000", 60_000, ""), ("+5", 5, ""), ("", nil, "no_integer"), ("abc", nil, "no_integer"),
            ("10x", nil, "{leftover_string,\"x\"}"), ("-1", nil, "{value_negative,-1}"),
            ("4294967295", 4_294_967_295, ""), ("4294967296", nil, "{value_too_big,4294967296}"),
            ("99999999999999999999999", nil, "{value_too_big,18446744073709551615}"),
        ] as [(String, UInt64?, String)]
    )
    func expiration(_ text: String, _ expected: UInt64?, _ reason: String) {
        var properties = BasicProperties()
        properties.expiration = ShortString(text)
        properties.encoded().withUnsafeBytes { bytes in
            do throws(AMQPError) {
                #expect(try PropertiesView(validated: bytes).expirationMilliseconds() == expected)
            } catch {
                #expect(expected == nil)
                #expect(error.text == "PRECONDITION_FAILED - invalid expiration '\(text)': \(reason)")
            }
        }
    }

    @Test("dead letters count by queue and reason, the latest first, and lose their expiration")
    func deadLetters() {
        var properties = BasicProperties()
        properties.expiration = "500"
        properties.appID = "app"
        properties.headers = ["CC": .array(FieldArray([.string("two")])), "mine": .int8(1)]
        func die(_ reason: DeadLetter.Reason, in queue: ShortString, _ encoded: [UInt8]) -> [UInt8] {
            encoded.withUnsafeBytes {
                DeadLetter(reason: reason, queue: queue, exchange: "x", routingKeys: ["k", "two"], time: 99)
                    .properties(from: PropertiesView(validated: $0))
            }
        }
        let first = die(.expired, in: "q1", properties.encoded())
        let second = die(.rejected, in: "q2", first)
        let third = die(.expired, in: "q1", second)
        third.withUnsafeBytes { bytes in
            let result = BasicProperties(PropertiesView(validated: bytes))
            #expect(result.expiration == nil)
            #expect(result.appID == "app")
            guard case .array(let deaths) = result.headers?["x-death"] else {
                Issue.record("no x-death")
                return
            }
            let entries = deaths.values.compactMap { value -> FieldTable? in
                if case .table(let table) = value { table } else { nil }
            }
            #expect(entries.map { $0["count"] } == [.int64(2), .int64(1)])
            #expect(entries.map { $0["queue"] } == [.string("q1"), .string("q2")])
            #expect(entries[0]["original-expiration"] == .string("500"))
            #expect(entries[1]["original-expiration"] == nil)
            #expect(entries[0]["routing-keys"] == .array(FieldArray([.string("k"), .string("two")])))
            #expect(entries[0]["time"] == .timestamp(99))
            #expect(result.headers?["x-first-death-queue"] == .string("q1"))
            #expect(result.headers?["x-first-death-reason"] == .string("expired"))
            #expect(result.headers?["x-last-death-queue"] == .string("q1"))
            #expect(result.headers?["mine"] == .int8(1))
        }
    }

    @Test("CC is an array of strings, or 406")
    func copies() throws {
        var properties = BasicProperties()
        properties.headers = ["CC": .array(FieldArray([.string("a"), .string("b")])), "BCC": .string("c")]
        try properties.encoded().withUnsafeBytes { bytes throws in
            let view = PropertiesView(validated: bytes)
            #expect(try view.copies("CC") == ["a", "b"])
            #expect(throws: AMQPError.self) { try view.copies("BCC") }
            #expect(try view.copies("DCC") == [])
        }
    }
}
