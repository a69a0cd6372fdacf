internal import AMQPProtocol

/// Chooses one of several by a hash, so that each gets its share by weight, the same hash always the same one, and that
/// a change of one moves only what it gains or loses (weighted rendezvous hashing). There is no state: the choice is the
/// same in every process.
enum WeightedChoice {
    struct Candidate: Sendable {
        let destination: BindingDestination
        let weight: Double
        let hash: UInt64

        init(_ destination: BindingDestination, weight: UInt64) {
            self.destination = destination
            self.weight = Double(max(weight, 1))
            hash =
                switch destination {
                case .queue(let name): StableHash.of(name.bytes, seed: 1)
                case .exchange(let name): StableHash.of(name.bytes, seed: 2)
                }
        }
    }

    static func choose(_ hash: UInt64, _ candidates: [Candidate]) -> BindingDestination? {
        var best: (score: Double, destination: BindingDestination)?
        for candidate in candidates {
            let mixed = StableHash.mix(hash ^ candidate.hash)
            // In the open interval from 0 to 1.
            let uniform = (Double(mixed >> 11) + 0.5) / 9_007_199_254_740_992
            let score = candidate.weight / -naturalLogarithm(uniform)
            if best.map({ score > $0.score }) ?? true { best = (score, candidate.destination) }
        }
        return best?.destination
    }

    /// Of a number between 0 and 1, from exponent and significand: only arithmetic that is the same on every machine.
    static func naturalLogarithm(_ value: Double) -> Double {
        let ratio = (value.significand - 1) / (value.significand + 1)
        let square = ratio * ratio
        var power = ratio
        var sum = 0.0
        for term in 0..<12 {
            sum += power / Double(2 * term + 1)
            power *= square
        }
        return 2 * sum + Double(value.exponent) * 0.693_147_180_559_945_3
    }
}

/// Hashes that are the same in every process.
enum StableHash {
    static func of(_ bytes: some Sequence<UInt8>, seed: UInt64 = 0) -> UInt64 {
        mix(bytes.reduce(0xCBF2_9CE4_8422_2325 ^ seed) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 })
    }

    /// SplitMix64's last steps: every bit of the result depends on every bit of the value.
    static func mix(_ value: UInt64) -> UInt64 {
        var mixed = value
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}

extension HashSource {
    /// What is not there counts as empty.
    func hash(_ key: ShortString?, _ message: RoutedMessage) -> UInt64 {
        switch self {
        case .routingKey: return StableHash.of(key?.bytes ?? [])
        case .header(let name):
            guard let headers = message.properties.headers, let field = headers.field(name),
                let value = headers.value(of: field)
            else { return StableHash.of([]) }
            var text: [UInt8] = []
            HeaderText.append(value, to: &text)
            return StableHash.of(text)
        case .property(let property):
            guard let value = message.properties.value(property) else { return StableHash.of([]) }
            return StableHash.of(value)
        }
    }
}
