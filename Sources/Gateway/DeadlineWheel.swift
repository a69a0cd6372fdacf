/// Deadlines of many connections, looked at a few times a second: eight bytes each, no timer. A connection that
/// is gone leaves its number behind until then.
package struct DeadlineWheel {
    package static let tickMilliseconds: Int64 = 250
    private var buckets: [Int64: [UInt64]] = [:]
    private var next: Int64 = .max

    package init() {}

    package var isEmpty: Bool { buckets.isEmpty }

    package mutating func insert(_ number: UInt64, at milliseconds: Int64) {
        let bucket = milliseconds / Self.tickMilliseconds + 1
        next = min(next, bucket)
        buckets[bucket, default: []].append(number)
    }

    package mutating func takeDue(_ now: Int64) -> [UInt64] {
        let current = now / Self.tickMilliseconds
        var due: [UInt64] = []
        while next <= current, !buckets.isEmpty {
            if let bucket = buckets.removeValue(forKey: next) { due += bucket }
            next += 1
            if buckets.isEmpty { next = .max }
        }
        return due
    }
}
