internal import MessageModel

/// One change of a lane's delivery state, as the log keeps it.
enum DeliveryChange: Equatable {
    case done(Range<UInt64>)
    /// Leased to an attached consumer: for as long as the process runs.
    case leased(Range<UInt64>)
    /// Leased to whoever has the receipt, until a time.
    case leasedUntil(Range<UInt64>, Timestamp)
    /// To be delivered again, not before a time.
    case released(Range<UInt64>, until: Timestamp?, countsAttempt: Bool)
    /// Not to be delivered any more: on its way to the dead letters.
    case condemned(Range<UInt64>, reason: String)

    var range: Range<UInt64> {
        switch self {
        case .done(let range), .leased(let range), .leasedUntil(let range, _), .released(let range, _, _),
            .condemned(let range, _):
            range
        }
    }

    fileprivate enum Code: UInt8 {
        case lane = 0
        case done = 1
        case leased = 2
        case leasedUntil = 3
        case released = 4
        case releasedUncounted = 5
        case delayed = 6
        case delayedUncounted = 7
        case condemned = 8
    }

    fileprivate var code: Code {
        switch self {
        case .done: .done
        case .leased: .leased
        case .leasedUntil: .leasedUntil
        case .released(_, nil, let countsAttempt): countsAttempt ? .released : .releasedUncounted
        case .released(_, _, let countsAttempt): countsAttempt ? .delayed : .delayedUncounted
        case .condemned: .condemned
        }
    }

    fileprivate var time: Timestamp? {
        switch self {
        case .leasedUntil(_, let time), .released(_, let time?, _): time
        case .done, .leased, .released, .condemned: nil
        }
    }

    /// This change and one that follows it as one; nil where they do not make one.
    fileprivate func joined(_ next: DeliveryChange) -> DeliveryChange? {
        guard range.upperBound == next.range.lowerBound else { return nil }
        let whole = range.lowerBound..<next.range.upperBound
        switch (self, next) {
        case (.done, .done): return .done(whole)
        case (.leased, .leased): return .leased(whole)
        case (.leasedUntil(_, let time), .leasedUntil(_, let other)) where time == other:
            return .leasedUntil(whole, time)
        case (.released(_, let time, let counts), .released(_, let other, let otherCounts))
        where time == other && counts == otherCounts:
            return .released(whole, until: time, countsAttempt: counts)
        case (.condemned(_, let reason), .condemned(_, let other)) where reason == other:
            return .condemned(whole, reason: reason)
        default: return nil
        }
    }
}

/// Where a change belongs.
struct LaneKey: Hashable {
    var subscription: SubscriptionID
    var lane: UInt16
}

/// Gathers the changes of delivery states for one record of the log, in a few bytes each.
///
/// A code, then for `lane` the subscription and the lane, otherwise the distance of the range's beginning from the end of
/// the one before in the same lane (zigzag), its length, and where the code says so a time in µs, or the length of a text
/// and the text. Numbers are varints.
struct DeliveryJournal {
    /// Longer reasons are cut.
    private static let reasonBytes = 256
    /// A record holds about so much: what is more goes into several.
    private let recordBytes: Int
    /// What fills records of its own.
    private var full: [[UInt8]] = []
    private var bytes: [UInt8] = []
    private var lane: LaneKey?
    private var cursor: UInt64 = 0
    /// Not encoded yet: what follows may join it.
    private var open: DeliveryChange?

    init(recordBytes: Int = .max) { self.recordBytes = recordBytes }

    var isEmpty: Bool { full.isEmpty && bytes.isEmpty && open == nil }
    /// It fills a record.
    var isFull: Bool { !full.isEmpty }

    mutating func append(_ change: DeliveryChange, to key: LaneKey) {
        guard !change.range.isEmpty else { return }
        if lane == key, let last = open, let joined = last.joined(change) {
            open = joined
            return
        }
        encodeOpen()
        if bytes.count >= recordBytes {
            full.append(bytes)
            bytes.removeAll(keepingCapacity: true)
            lane = nil
        }
        if lane != key {
            bytes.append(DeliveryChange.Code.lane.rawValue)
            write(UInt64(key.subscription.rawValue))
            write(UInt64(key.lane))
            lane = key
            cursor = 0
        }
        open = change
    }

    /// What the next record is to hold; empty where nothing is left.
    mutating func next() -> [UInt8] {
        if let first = full.first { return first }
        encodeOpen()
        lane = nil
        return bytes
    }

    /// The next record was written.
    mutating func written() {
        if full.isEmpty { bytes.removeAll(keepingCapacity: true) } else { full.removeFirst() }
    }

    private mutating func encodeOpen() {
        guard let change = open else { return }
        open = nil
        let range = change.range
        bytes.append(change.code.rawValue)
        let distance = Int64(bitPattern: range.lowerBound &- cursor)
        write(UInt64(bitPattern: (distance << 1) ^ (distance >> 63)))
        write(range.upperBound - range.lowerBound)
        if let time = change.time { write(time.rawValue) }
        if case .condemned(_, let reason) = change {
            let text = reason.utf8.prefix(Self.reasonBytes)
            write(UInt64(text.count))
            bytes.append(contentsOf: text)
        }
        cursor = range.upperBound
    }

    private mutating func write(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    /// Reads what `next` gave.
    /// - Returns: false where it is malformed; what came before has been passed on.
    static func read(_ bytes: UnsafeRawBufferPointer, _ body: (LaneKey, DeliveryChange) -> Void) -> Bool {
        var position = 0
        var lane: LaneKey?
        var cursor: UInt64 = 0
        while position < bytes.count {
            guard let code = DeliveryChange.Code(rawValue: bytes[position]) else { return false }
            position += 1
            if code == .lane {
                guard let subscription = Varint.read(bytes, &position).flatMap({ UInt32(exactly: $0) }),
                    let number = Varint.read(bytes, &position).flatMap({ UInt16(exactly: $0) })
                else { return false }
                lane = LaneKey(subscription: SubscriptionID(rawValue: subscription), lane: number)
                cursor = 0
                continue
            }
            guard let lane, let zigzag = Varint.read(bytes, &position), let count = Varint.read(bytes, &position),
                count > 0
            else { return false }
            let distance = Int64(bitPattern: zigzag >> 1) ^ -Int64(bitPattern: zigzag & 1)
            let first = cursor &+ UInt64(bitPattern: distance)
            let (end, overflow) = first.addingReportingOverflow(count)
            guard !overflow else { return false }
            cursor = end
            var time = Timestamp.zero
            if code == .leasedUntil || code == .delayed || code == .delayedUncounted {
                guard let value = Varint.read(bytes, &position) else { return false }
                time = Timestamp(rawValue: value)
            }
            var reason = ""
            if code == .condemned {
                guard let length = Varint.readLength(bytes, &position) else { return false }
                reason = String(decoding: bytes.slice(position..<position + length), as: UTF8.self)
                position += length
            }
            switch code {
            case .lane: break
            case .condemned: body(lane, .condemned(first..<end, reason: reason))
            case .done: body(lane, .done(first..<end))
            case .leased: body(lane, .leased(first..<end))
            case .leasedUntil: body(lane, .leasedUntil(first..<end, time))
            case .released: body(lane, .released(first..<end, until: nil, countsAttempt: true))
            case .releasedUncounted: body(lane, .released(first..<end, until: nil, countsAttempt: false))
            case .delayed: body(lane, .released(first..<end, until: time, countsAttempt: true))
            case .delayedUncounted: body(lane, .released(first..<end, until: time, countsAttempt: false))
            }
        }
        return true
    }
}

extension DeliveryState {
    /// Applies a change that the log holds.
    /// - Parameter epoch: that of its record.
    mutating func apply(_ change: DeliveryChange, epoch: UInt32) {
        var pieces: [Lease] = []
        takeLeases(in: change.range, owner: nil, into: &pieces)
        switch change {
        case .done(let range):
            finish(range)
        case .leased(let range):
            leaseUniformly(range, owner: .max, deadline: .never, epoch: epoch)
        case .leasedUntil(let range, let deadline):
            // What was out already has a longer time: it is the same lease.
            var start = range.lowerBound
            for piece in pieces {
                let fresh = start..<piece.range.lowerBound
                leaseUniformly(fresh, owner: Self.receiptOwner, deadline: deadline, epoch: epoch)
                extend(piece, until: deadline)
                start = piece.range.upperBound
            }
            leaseUniformly(start..<range.upperBound, owner: Self.receiptOwner, deadline: deadline, epoch: epoch)
        case .released(_, let until, let countsAttempt):
            for piece in pieces { release(piece, until: until, countsAttempt: countsAttempt) }
        case .condemned(let range, _):
            for piece in pieces { condemn(piece.range, attempt: piece.attempt) }
            condemn(range, attempt: nil)
        }
    }

    /// Changes are joined in the log where their messages have different turns, too.
    private mutating func leaseUniformly(_ range: Range<UInt64>, owner: UInt64, deadline: Timestamp, epoch: UInt32) {
        var rest = range
        while !rest.isEmpty {
            let part = uniform(rest).range
            if !isDone(part.lowerBound) { lease(part, owner: owner, deadline: deadline, epoch: epoch) }
            rest = part.upperBound..<rest.upperBound
        }
    }
}
