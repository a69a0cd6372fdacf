internal import MessageModel

/// What a redrive was asked for, and how far it is: kept in the log, so that it goes on after a restart.
///
/// Selector, rate u64, limit u64 (the largest number for none), messages moved u64, count of partitions u16, and of each where
/// the letters end that are meant, u64.
struct RedriveRun: Equatable {
    var selector: String
    /// Letters in a second; zero for no limit.
    var rate: UInt64
    var limit: UInt64
    var moved: UInt64 = 0
    /// Letters that come while it runs, among them those that it sent back and that died again, are left.
    var ends: [UInt64]

    init(selector: String, rate: UInt64, limit: UInt64, ends: [UInt64]) {
        self.selector = selector
        self.rate = rate
        self.limit = limit
        self.ends = ends
    }

    func encode(to writer: inout ByteWriter) {
        writer.write(selector)
        writer.write64(rate)
        writer.write64(limit)
        writer.write64(moved)
        writer.write16(UInt16(ends.count))
        for end in ends { writer.write64(end) }
    }

    init?(from reader: inout ByteReader) {
        guard let selector = reader.readString(), let rate = reader.read64(), let limit = reader.read64(),
            let moved = reader.read64(), let count = reader.read16()
        else { return nil }
        self.init(selector: selector, rate: rate, limit: limit, ends: [])
        self.moved = moved
        for _ in 0..<count {
            guard let end = reader.read64() else { return nil }
            ends.append(end)
        }
    }
}
