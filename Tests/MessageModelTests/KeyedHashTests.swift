import MessageModel
import Testing

@Suite("Keyed hash")
struct KeyedHashTests {
    private let hash = KeyedHash(key0: 0x0706_0504_0302_0100, key1: 0x0F0E_0D0C_0B0A_0908)

    private func hex(_ count: Int) -> String {
        let (low, high) = (0..<count).map { UInt8($0) }.withUnsafeBytes { hash.hash($0) }
        return [low, high].map { word in
            (0..<8).map { index in
                let byte = UInt8(truncatingIfNeeded: word >> (index * 8))
                return (byte < 16 ? "0" : "") + String(byte, radix: 16)
            }.joined()
        }.joined()
    }

    @Test("is SipHash-2-4 with 128 bits, by the vectors of its reference implementation")
    func vectors() {
        #expect(hex(0) == "a3817f04ba25a8e66df67214c7550293")
        #expect(hex(1) == "da87c1d86b99af44347659119b22fc45")
        #expect(hex(8) == "3b62a9ba6258f5610f83e264f31497b4")
        #expect(hex(15) == "5493e99933b0a8117e08ec0f97cfc3d9")
        #expect(hex(63) == "5150d1772f50834a503e069a973fbd7c")
    }

    @Test("differs by domain, and a domain is what its bytes in front would be")
    func domains() {
        let bytes: [UInt8] = [1, 2, 3]
        bytes.withUnsafeBytes { bytes in
            #expect(hash.hash(bytes, domain: 1) != hash.hash(bytes, domain: 2))
            #expect(hash.hash(bytes, domain: 0) != hash.hash(bytes))
            ([7, 0, 0, 0, 0, 0, 0, 0] + Array(bytes) as [UInt8]).withUnsafeBytes {
                #expect(hash.hash($0) == hash.hash(bytes, domain: 7))
            }
        }
    }
}
