import Testing

@testable import AMQPProtocol

@Suite("Field tables")
struct FieldTableTests {
    /// One value of every type, with its encoding behind the letter.
    static let samples: [(FieldValue, [UInt8])] = [
        (.boolean(true), [0x74, 1]),
        (.int8(-2), [0x62, 0xFE]),
        (.uint8(254), [0x42, 0xFE]),
        (.int16(-2), [0x73, 0xFF, 0xFE]),
        (.uint16(65_534), [0x75, 0xFF, 0xFE]),
        (.int32(-2), [0x49, 0xFF, 0xFF, 0xFF, 0xFE]),
        (.uint32(4_294_967_294), [0x69, 0xFF, 0xFF, 0xFF, 0xFE]),
        (.int64(-2), [0x6C, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE]),
        (.longInt64(-2), [0x4C, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE]),
        (.float(1.5), [0x66, 0x3F, 0xC0, 0, 0]),
        (.double(-2), [0x64, 0xC0, 0, 0, 0, 0, 0, 0, 0]),
        (.decimal(scale: 2, unscaled: 314), [0x44, 2, 0, 0, 1, 0x3A]),
        (.timestamp(1), [0x54, 0, 0, 0, 0, 0, 0, 0, 1]),
        (.string("hé"), [0x53, 0, 0, 0, 3, 0x68, 0xC3, 0xA9]),
        (.bytes([0, 255]), [0x78, 0, 0, 0, 2, 0, 255]),
        (.array(FieldArray([.int8(1), .void])), [0x41, 0, 0, 0, 3, 0x62, 1, 0x56]),
        (.table(["a": .boolean(false)]), [0x46, 0, 0, 0, 4, 1, 0x61, 0x74, 0]),
        (.void, [0x56]),
    ]

    @Test("every type of the dialect has its letter and comes back as it was", arguments: samples.indices)
    func roundTrip(_ index: Int) throws {
        let (value, encoding) = Self.samples[index]
        var bytes: [UInt8] = []
        value.encode(into: &bytes)
        #expect(bytes == encoding)
        let table = try #require(FieldTable(encoded: [1, 0x6B] + encoding))
        #expect(table["k"] == value)
        var again = FieldTable()
        again.append("k", value)
        #expect(again == table)
        #expect(value.type.rawValue == encoding[0])
    }

    @Test("all letters are known, and no others")
    func letters() {
        #expect(Set(FieldType.allCases.map(\.rawValue)) == Set("tbBsuIilLfdDTSxAFV".utf8))
        for letter in UInt8.min...UInt8.max where FieldType(rawValue: letter) == nil {
            #expect(FieldTable(encoded: [1, 0x6B, letter] + [UInt8](repeating: 0, count: 8)) == nil)
        }
    }

    @Test("a field is found among others without decoding them, and the first of two counts")
    func lookUp() {
        var table = FieldTable()
        for (index, sample) in Self.samples.enumerated() { table.append("k\(index)", sample.0) }
        table.append("k3", .void)
        for (index, sample) in Self.samples.enumerated() { #expect(table[Array("k\(index)".utf8)] == sample.0) }
        #expect(table["missing"] == nil)
        #expect(table.fields.map(\.value) == Self.samples.map(\.0) + [.void])
    }

    @Test("removing and replacing a field leaves the bytes of the others")
    func changes() {
        var table: FieldTable = ["a": .int8(1), "b": .string("x"), "a": .int8(2), "c": .boolean(true)]
        // A truth that is not 1, as some clients send it, must come out as it came in.
        let odd = FieldTable(encoded: [1, 0x74, 0x74, 7]) ?? [:]
        table = FieldTable(encoded: table.bytes + odd.bytes) ?? [:]
        table.remove("a")
        #expect(
            table == FieldTable(encoded: (["b": .string("x"), "c": .boolean(true)] as FieldTable).bytes + odd.bytes)
        )
        table.replace("b", .void)
        #expect(table["b"] == .void)
        #expect(table["t"] == .boolean(true))
    }

    @Test("lengths beyond the table, and bytes that are left over, are refused")
    func hostileLengths() {
        for encoding in Self.samples.map(\.1) where encoding.count > 1 {
            for count in 0..<encoding.count {
                #expect(FieldTable(encoded: [1, 0x6B] + encoding[..<count]) == nil)
            }
        }
        #expect(FieldTable(encoded: [255, 0x6B]) == nil)
        #expect(FieldTable(encoded: [1, 0x6B, 0x53, 0xFF, 0xFF, 0xFF, 0xFF]) == nil)
        #expect(FieldTable(encoded: [1, 0x6B, 0x46, 0x7F, 0xFF, 0xFF, 0xFF, 0, 0]) == nil)
        #expect(FieldTable(encoded: [1, 0x6B, 0x41, 0, 0, 0, 1, 0x53]) == nil)
    }

    @Test("tables inside tables are accepted up to the bound and refused beyond")
    func depth() {
        var bytes: [UInt8] = []
        for _ in 0..<8 {
            var outer: [UInt8] = [1, 0x6B, 0x46]
            outer.appendLong(bytes)
            bytes = outer
        }
        // Eight tables inside each other, and the innermost is empty.
        #expect(FieldTable(encoded: bytes, depth: 9) != nil)
        #expect(FieldTable(encoded: bytes, depth: 8) == nil)
        var deep: [UInt8] = []
        for _ in 0..<20_000 {
            var outer: [UInt8] = [0x41]
            outer.appendLong(deep)
            deep = outer
            if deep.count > 100_000 { break }
        }
        #expect(FieldTable(encoded: [1, 0x6B] + deep) == nil)
    }

    @Test("random bytes are a table that can be walked, or are refused")
    func fuzz() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        var accepted = 0
        for _ in 0..<20_000 {
            var bytes: [UInt8] = []
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                bytes += [1, UInt8.random(in: 97...122, using: &random)]
                bytes += Self.samples.randomElement(using: &random)?.1 ?? []
            }
            if Bool.random(using: &random), let index = bytes.indices.randomElement(using: &random) {
                bytes[index] = UInt8.random(in: 0...255, using: &random)
            }
            guard let table = FieldTable(encoded: bytes) else { continue }
            accepted += 1
            var again = FieldTable()
            for (name, value) in table.fields { again.append(name.bytes, value) }
            // Only a truth that is not 1 may change.
            #expect(again.bytes.count == bytes.count, "seed \(seed)")
        }
        #expect(accepted > 5_000, "seed \(seed)")
    }
}
