internal import MessageModel

/// The last values of a tenant's names: for each name the place of the message that was published last with the retain
/// flag.
///
/// Values that have expired count until they are swept away: when there is no room for a new one, and whenever the owner
/// does it. Their time is that of the records in the log, so that replaying them gives the same.
struct RetainedValues {
    /// Where a value stands.
    struct Place: BitwiseCopyable, Equatable {
        /// Of the log record with its batch.
        var position: UInt64
        /// In its partition.
        var offset: UInt64
        /// When it was published, and from when on it is not wanted any more, µs since 1970.
        var time: UInt64
        var expiry: UInt64
        var recordBytes: UInt32
        /// Of its body and properties.
        var bytes: UInt32
        var topic: UInt32
        /// Index in the batch.
        var record: UInt16
    }

    struct Limits: Equatable {
        var values: Int
        var bytes: UInt64
    }

    private(set) var names = NameTree<Place>()
    /// Of all values, with their names.
    private(set) var bytes: UInt64 = 0
    /// No value expires before this time.
    private var earliestExpiry = UInt64.max
    private var lastSweep: UInt64 = 0
    /// A sweep looks at every value: not more often than this.
    private static let sweepInterval: UInt64 = 1_000_000

    var isEmpty: Bool { names.isEmpty }
    var count: Int { names.count }

    private static func cost(_ name: UnsafeRawBufferPointer, _ place: Place) -> UInt64 {
        UInt64(name.count) + UInt64(place.bytes)
    }

    /// A message becomes the last value of its name. Where there is no room for it, the name has none any more: an older
    /// one would be a wrong one.
    /// - Returns: whether there was room.
    mutating func set(_ name: UnsafeRawBufferPointer, _ place: Place, _ limits: Limits) -> Bool {
        let cost = Self.cost(name, place)
        let old = names.get(name)
        var freed = old.map { Self.cost(name, $0) } ?? 0
        if (old == nil && names.count >= limits.values) || bytes - freed + cost > limits.bytes,
            earliestExpiry <= place.time, place.time >= lastSweep &+ Self.sweepInterval
        {
            lastSweep = place.time
            sweep(now: place.time)
            freed = names.get(name).map { Self.cost(name, $0) } ?? 0
        }
        guard names.count < limits.values || names.get(name) != nil, bytes - freed + cost <= limits.bytes else {
            remove(name)
            return false
        }
        names.set(name, place)
        bytes += cost
        bytes -= freed
        earliestExpiry = min(earliestExpiry, place.expiry)
        return true
    }

    mutating func remove(_ name: UnsafeRawBufferPointer) {
        if let old = names.remove(name) { bytes -= Self.cost(name, old) }
    }

    /// Removes what has expired.
    mutating func sweep(now: UInt64) {
        guard earliestExpiry <= now else { return }
        remove { $0.expiry <= now }
        earliestExpiry = .max
        names.forEach { _, place in earliestExpiry = min(earliestExpiry, place.expiry) }
    }

    /// The topic is gone, with all its messages.
    mutating func remove(topic: UInt32) { remove { $0.topic == topic } }

    private mutating func remove(where isMeant: (Place) -> Bool) {
        var meant: [[UInt8]] = []
        names.forEach { name, place in
            if isMeant(place) { meant.append(Array(name)) }
        }
        for name in meant { name.withUnsafeBytes { remove($0) } }
    }
}

extension RetainedValues {
    func encode(to writer: inout ByteWriter) {
        writer.write64(lastSweep)
        writer.write32(UInt32(names.count))
        names.forEach { name, place in
            writer.write(Array(name))
            writer.write64(place.position)
            writer.write64(place.offset)
            writer.write64(place.time)
            writer.write64(place.expiry)
            writer.write32(place.recordBytes)
            writer.write32(place.bytes)
            writer.write32(place.topic)
            writer.write16(place.record)
        }
    }

    /// Nil where the bytes end early.
    init?(from reader: inout ByteReader) {
        guard let lastSweep = reader.read64(), let count = reader.read32() else { return nil }
        self.lastSweep = lastSweep
        for _ in 0..<count {
            guard let name = reader.readBytes(), let position = reader.read64(), let offset = reader.read64(),
                let time = reader.read64(), let expiry = reader.read64(), let recordBytes = reader.read32(),
                let bytes = reader.read32(), let topic = reader.read32(), let record = reader.read16()
            else { return nil }
            let place = Place(
                position: position,
                offset: offset,
                time: time,
                expiry: expiry,
                recordBytes: recordBytes,
                bytes: bytes,
                topic: topic,
                record: record
            )
            name.withUnsafeBytes { name in
                names.set(name, place)
                self.bytes += Self.cost(name, place)
            }
            earliestExpiry = min(earliestExpiry, expiry)
        }
    }
}
