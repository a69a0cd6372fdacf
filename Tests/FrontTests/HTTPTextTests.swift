import MessageModel
import NIOCore
import Testing

@testable import HTTPFront

@Suite("The texts of the HTTP front")
struct HTTPTextTests {
    private func refusal(_ text: String) -> JSONError? {
        Array(text.utf8).withUnsafeBytes { bytes in
            var reader = JSONReader(bytes)
            do throws(JSONError) {
                _ = try reader.skip()
                try reader.end()
                return nil
            } catch {
                return error
            }
        }
    }

    @Test(
        "what is JSON is taken",
        arguments: [
            "null", "true", " false ", "0", "-0", "1.5e+10", "\"\"", "\"a\\u00e4\\ud83d\\ude00\\n\"", "[]",
            "[1,[2],{}]",
            "{\"a\":{\"b\":[null]}}", "\"ä\"",
        ]
    )
    func taken(text: String) { #expect(refusal(text) == nil) }

    @Test(
        "what is not JSON is refused",
        arguments: [
            "", " ", "nul", "tru", "01", "1.", ".5", "+1", "1e", "-", "\"", "\"\\x\"", "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\n\"", "[1,]", "[1 2]", "{,}", "{\"a\"}", "{\"a\":1,}", "{a:1}", "[", "{", "1 1", "NaN",
        ]
    )
    func refused(text: String) { #expect(refusal(text) != nil) }

    @Test("a document that nests deeper than the limit is refused, however long it is")
    func deep() {
        #expect(refusal(String(repeating: "[", count: 100_000)) != nil)
        let allowed = JSONReader.depthLimit
        let text = String(repeating: "[", count: allowed) + String(repeating: "]", count: allowed)
        #expect(refusal(text) == nil)
    }

    @Test("a string with bytes that are not UTF-8 is refused")
    func notUTF8() {
        let bytes: [UInt8] = [0x22, 0xC3, 0x28, 0x22]
        #expect(!bytes.withUnsafeBytes { JSONReader.isValid($0) })
    }

    @Test("any text comes back through writer and reader, and damaged documents are refused or read, never worse")
    func roundTrip() {
        let seed = UInt64.random(in: 0 ... .max)
        var random = HTTPTestRandom(state: seed)
        for _ in 0..<300 {
            let scalars = (0..<Int.random(in: 0...40, using: &random)).compactMap { _ in
                Unicode.Scalar(UInt32.random(in: 0...(Bool.random(using: &random) ? 0x7F : 0x10FFFF), using: &random))
            }
            let text = String(String.UnicodeScalarView(scalars))
            var writer = JSONWriter()
            writer.array { $0.string(text) }
            var bytes = Array(writer.buffer.readableBytesView)
            let back = bytes.withUnsafeBytes { bytes in
                var reader = JSONReader(bytes)
                var found: String?
                try? reader.readArray("") { reader, _ throws(JSONError) in found = try reader.readString("") }
                return found
            }
            #expect(back.map { Array($0.utf8) } == Array(text.utf8), "seed \(seed)")
            bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(in: 0...255, using: &random)
            _ = bytes.withUnsafeBytes { JSONReader.isValid($0) }
            _ = try? NewMessage.list(json: bytes, trace: TraceContext())
        }
    }

    @Test("messages cut off or damaged anywhere are refused or read, never worse")
    func damagedMessages() throws {
        let seed = UInt64.random(in: 0 ... .max)
        var random = HTTPTestRandom(state: seed)
        let text = """
            {"messages":[{"body":{"a":[1,"\\u00e4"]},"encoding":"json","name":"a/b","keys":["x",{"base64":"AA=="}],
            "headers":{"a":"1","b":["2",{"base64":"/w=="}]},"ttl":"30s","priority":4}]}
            """
        let whole = Array(text.utf8)
        #expect(try NewMessage.list(json: whole, trace: TraceContext()).count == 1)
        for length in 0..<whole.count {
            #expect(throws: Problem.self, "\(length)") {
                try NewMessage.list(json: Array(whole[..<length]), trace: TraceContext())
            }
        }
        for _ in 0..<2_000 {
            var bytes = whole
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            _ = try? NewMessage.list(json: bytes, trace: TraceContext())
        }
    }

    @Test(
        "base64 has its padding and no other characters",
        arguments: [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
    )
    func base64(text: String, encoded: String) {
        #expect(Array(text.utf8).withUnsafeBytes { Base64.encode($0) } == encoded)
        #expect(Base64.decode(Array(encoded.utf8)) == Array(text.utf8))
        for wrong in ["Zg=", "Zg", "Z===", "Zg==Zg==", "Zm9v\n", "Zm9_", "===="] {
            #expect(Base64.decode(Array(wrong.utf8)) == nil, "\(wrong)")
        }
    }

    @Test("times come back from their text")
    func times() {
        #expect(TimeText.format(Timestamp(rawValue: 0)) == "1970-01-01T00:00:00Z")
        #expect(TimeText.format(Timestamp(rawValue: 1_709_164_800_000_001)) == "2024-02-29T00:00:00.000001Z")
        #expect(TimeText.parse("2024-02-29T01:00:00.5+01:00") == Timestamp(rawValue: 1_709_164_800_500_000))
        for wrong in [
            "", "2024-02-30T00:00:00Z", "2023-02-29T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00",
            "1969-12-31T23:59:59Z", "2024-01-01T00:00:00.Z",
        ] {
            #expect(TimeText.parse(wrong) == nil, "\(wrong)")
        }
        let seed = UInt64.random(in: 0 ... .max)
        var random = HTTPTestRandom(state: seed)
        for _ in 0..<1_000 {
            let time = Timestamp(rawValue: UInt64.random(in: 0..<253_402_300_800_000_000, using: &random))
            #expect(TimeText.parse(TimeText.format(time)) == time, "seed \(seed)")
        }
    }

    @Test("lengths of time have a unit and fit")
    func durations() {
        #expect(DurationText.parse("30s") == 30_000_000)
        #expect(DurationText.parse("5m") == 300_000_000)
        for wrong in ["", "s", "30", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615d", "1 s"] {
            #expect(DurationText.parse(wrong) == nil, "\(wrong)")
        }
    }

    @Test("an escaped slash stays inside its segment of the path")
    func targets() throws {
        let target = try RequestTarget("/v1/topics/a%2Fb/messages?name=x/%2B&from=2026-01-01T00:00:00+01:00")
        #expect(target.segments == ["v1", "topics", "a/b", "messages"])
        #expect(target["name"] == "x/+")
        #expect(target["from"] == "2026-01-01T00:00:00+01:00")
        for wrong in ["/%", "/%4", "/%zz", "/%ff", "/?a=%ff", "/?a=1&a=2"] {
            #expect(throws: Problem.self) { try RequestTarget(wrong) }
        }
    }
}

struct HTTPTestRandom: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
