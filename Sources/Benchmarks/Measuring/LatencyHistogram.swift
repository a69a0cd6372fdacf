/// Counts latencies in buckets whose width grows with the value: 64 to each power of two, an error below 1.6 %.
struct LatencyHistogram: Sendable {
    private static let bucketsPerOctave = 64
    private var counts = [UInt32](repeating: 0, count: 64 * 48)
    private(set) var count = 0

    mutating func add(nanoseconds value: UInt64, times: UInt32 = 1) {
        counts[Self.bucket(value)] += times
        count += Int(times)
    }

    mutating func reset() { self = LatencyHistogram() }

    /// Microseconds that so large a share of the values does not exceed; 0 where there are none.
    func percentile(_ share: Double) -> Double {
        guard count > 0 else { return 0 }
        let wanted = Int((share * Double(count)).rounded(.up))
        var seen = 0
        for (bucket, number) in counts.enumerated() where number > 0 {
            seen += Int(number)
            if seen >= wanted { return Double(Self.upperBound(bucket)) / 1_000 }
        }
        return 0
    }

    private static func bucket(_ value: UInt64) -> Int {
        guard value >= 64 else { return Int(value) }
        let shift = 63 - value.leadingZeroBitCount - 6
        return min((shift + 1) * bucketsPerOctave + Int(value >> UInt64(shift)) - 64, 64 * 48 - 1)
    }

    private static func upperBound(_ bucket: Int) -> UInt64 {
        guard bucket >= 64 else { return UInt64(bucket) }
        let shift = UInt64(bucket / 64 - 1)
        return (UInt64(bucket % 64 + 64) + 1) << shift
    }
}
