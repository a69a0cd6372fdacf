import AMQPModel
import TestSupport
import Testing

@Suite struct RoutingKeyCodingTests {
    private func encoded(_ key: [UInt8]) -> [UInt8] {
        var name: [UInt8] = []
        key.withUnsafeBytes { RoutingKeyCoding.encode($0, into: &name) }
        return name
    }

    private func decoded(_ part: [UInt8]) -> [UInt8] {
        var key: [UInt8] = []
        part.withUnsafeBytes { RoutingKeyCoding.decode($0, into: &key) }
        return key
    }

    @Test(arguments: [
        ("eu.created", "eu/created"), ("a/b", "a.b"), ("", ""), ("a..c", "a//c"), ("50%", "50%"), ("50%25", "50%2525"),
        ("a#b+", "a%23b%2B"), ("%zz", "%zz"), ("grün", "grün"), ("\0", "%00"),
    ])
    func keysBecomeNames(key: String, name: String) {
        #expect(encoded(Array(key.utf8)) == Array(name.utf8))
        #expect(decoded(Array(name.utf8)) == Array(key.utf8))
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func whateverAKeyHoldsComesBackAndMakesAName(seed: UInt64) {
        var generator = SeededRandom(seed: seed)
        let alphabet: [UInt8] = [
            0, 0x23, 0x25, 0x2B, 0x2E, 0x2F, 0x32, 0x33, 0x41, 0x61, 0x80, 0xC3, 0xA9, 0xED, 0xF0, 0xFF,
        ]
        for _ in 0..<5_000 {
            let key = (0..<Int.random(in: 0...12, using: &generator)).map { _ in
                alphabet.randomElement(using: &generator) ?? 0
            }
            let name = encoded(key)
            #expect(decoded(name) == key, "key \(key)")
            #expect(String(validating: name, as: UTF8.self) != nil, "key \(key)")
            #expect(!name.contains(0) && !name.contains(0x23) && !name.contains(0x2B), "key \(key)")
        }
    }
}
