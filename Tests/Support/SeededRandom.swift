/// Random numbers that come again with the same seed (SplitMix64). Property tests print their seed when they fail.
package struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    package mutating func bytes(_ counts: ClosedRange<Int>) -> [UInt8] {
        let count = Int.random(in: counts, using: &self)
        return (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &self) }
    }

    /// A name of a few short levels, also empty ones, with characters that protocols treat in special ways.
    package mutating func name() -> String {
        let levels = Int.random(in: 1...5, using: &self)
        let alphabet = ["a", "b", "ä", ".", "$", " ", "x1", "\u{1F600}", "-", "A"]
        return (0..<levels).map { _ in
            let length = Int.random(in: 0...3, using: &self)
            return (0..<length).map { _ in alphabet.randomElement(using: &self) ?? "a" }.joined()
        }.joined(separator: "/")
    }
}
