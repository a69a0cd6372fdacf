import MessageModel
import TestSupport
import Testing

@Suite("The traits of a batch")
struct BatchTraitsTests {
    private static let all: [BatchTraits] = (0..<9).map { BatchTraits(rawValue: 1 << $0) }

    /// A record with just these.
    private func append(_ traits: BatchTraits, to builder: inout BatchBuilder) {
        var properties = PropertyWriter()
        properties.append(.contentType, "text/plain")
        properties.appendUser(name: "tag", value: "key")
        if traits.contains(.hasDeliverAt) { properties.append(.deliverAt, number: 1) }
        if traits.contains(.hasPriority) { properties.append(.priority, byte: 0) }
        if traits.contains(.hasExpiry) { properties.append(.expiry, number: 1) }
        if traits.contains(.hasKeys) { properties.append(.key, "k") }
        if traits.contains(.hasMessageIDs) { properties.append(.messageID, "m") }
        if traits.contains(.hasTags) { properties.append(.tag, "") }
        if traits.contains(.hasTombstones) { properties.append(.tombstone, "") }
        var fields = RecordFields()
        fields.isRetained = traits.contains(.hasRetained)
        [UInt8(7)].withUnsafeBytes { key in
            properties.withBytes { properties in
                if traits.contains(.hasOrderingKeys) { fields.orderingKey = key }
                fields.properties = properties
                builder.append(fields)
            }
        }
    }

    private func found(_ builder: inout BatchBuilder) throws -> (verified: BatchTraits, walked: BatchTraits) {
        let bytes = builder.finish { Array($0) }
        return try bytes.withUnsafeBytes { bytes in
            let batch = try #require(BatchView(prefixOf: bytes))
            return (try batch.verify(), batch.traits())
        }
    }

    @Test("are those of its records, each alone")
    func single() throws {
        for traits in Self.all {
            var builder = BatchBuilder()
            append(traits, to: &builder)
            #expect(try found(&builder) == (traits, traits))
        }
        var builder = BatchBuilder()
        builder.append(RecordFields())
        #expect(try found(&builder) == ([], []))
    }

    @Test("are those of all of its records together", arguments: 0..<100)
    func union(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var builder = BatchBuilder()
        var expected: BatchTraits = []
        for _ in 0..<Int.random(in: 1...5, using: &random) {
            var traits: BatchTraits = []
            for trait in Self.all where Int.random(in: 0..<6, using: &random) == 0 { traits.insert(trait) }
            append(traits, to: &builder)
            expected.formUnion(traits)
        }
        #expect(try found(&builder) == (expected, expected), "seed \(seed)")
    }
}
