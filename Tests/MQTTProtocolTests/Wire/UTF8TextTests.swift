import Testing

@testable import MQTTProtocol

@Suite("UTF-8 strings")
struct UTF8TextTests {
    func isValid(_ bytes: [UInt8], _ content: TextContent = .name) -> Bool {
        bytes.withUnsafeBytes { UTF8Text.isValid($0, content) }
    }

    @Test("well-formed text of every length is valid", arguments: ["", "a", "Grüße", "日本語/温度", "🚀🚀", "\u{FEFF}x"])
    func valid(_ string: String) {
        #expect(isValid(Array(string.utf8)))
        #expect(isValid(Array((String(repeating: "abcdefgh", count: 3) + string).utf8)))
    }

    @Test(
        "malformed sequences are found wherever they stand",
        arguments: [
            "00", "80", "BF", "C0 80", "C1 BF", "C3", "C3 28", "E0 80 80", "E0 9F BF", "E2 82", "ED A0 80", "ED BF BF",
            "F0 80 80 80", "F0 8F BF BF", "F4 90 80 80", "F5 80 80 80", "FF", "FE",
        ]
    )
    func malformed(_ sequence: String) {
        for before in 0...17 {
            for after in 0...9 {
                let bytes =
                    [UInt8](repeating: 0x61, count: before) + hex(sequence) + [UInt8](repeating: 0x62, count: after)
                #expect(!isValid(bytes, .name))
                #expect(!isValid(bytes, .freeText))
            }
        }
    }

    @Test(
        "control characters and non-characters are refused in names and allowed in free text",
        arguments: ["01", "0A", "1F", "7F", "C2 80", "C2 9F", "EF BF BE", "EF BF BF", "EF B7 90", "F0 9F BF BF"]
    )
    func discouraged(_ sequence: String) {
        for before in 0...9 {
            let bytes = [UInt8](repeating: 0x61, count: before) + hex(sequence) + Array("12345678".utf8)
            #expect(!isValid(bytes, .name))
            #expect(isValid(bytes, .freeText))
        }
    }

    @Test("every single scalar is judged as the standard library does")
    func agreesWithStandardLibrary() {
        var random = SplitMix64(seed: 1)
        for _ in 0..<20_000 {
            let bytes = (0..<4).map { _ in UInt8.random(in: 0...255, using: &random) }
            let expected = String(validating: bytes, as: UTF8.self) != nil && !bytes.contains(0)
            #expect(isValid(bytes, .freeText) == expected, "\(hexText(bytes))")
        }
    }

    @Test("strings are equal by their bytes, not by how they look")
    func comparison() {
        #expect("\u{E9}" == "e\u{301}")
        #expect(MQTTString("\u{E9}" as String) != MQTTString("e\u{301}" as String))
    }
}
