package import MessageModel
package import NIOCore

/// What ACKNOWLEDGE, RELEASE, EXTEND_LEASE and REJECT say about messages, besides which they are.
package enum WireSettlement: Equatable, Sendable {
    case accept
    /// µs to wait; nil for the subscription's back-off.
    case release(delay: UInt64?, countsAttempt: Bool)
    case extend(by: UInt64)
    case reject(reason: String)

    package var opcode: Opcode {
        switch self {
        case .accept: .acknowledge
        case .release: .release
        case .extend: .extendLease
        case .reject: .reject
        }
    }

    private struct ReleaseFlags: OptionSet {
        var rawValue: UInt8
        static let hasDelay = ReleaseFlags(rawValue: 1 << 0)
        static let isUncounted = ReleaseFlags(rawValue: 1 << 1)
        static let known: ReleaseFlags = [.hasDelay, .isUncounted]
    }

    package init?(_ opcode: Opcode, _ reader: inout WireReader) {
        switch opcode {
        case .acknowledge: self = .accept
        case .release:
            guard let bits = reader.u8(), let delay = reader.u64() else { return nil }
            let flags = ReleaseFlags(rawValue: bits)
            guard flags.isSubset(of: .known) else { return nil }
            self = .release(
                delay: flags.contains(.hasDelay) ? delay : nil,
                countsAttempt: !flags.contains(.isUncounted)
            )
        case .extendLease:
            guard let duration = reader.u64() else { return nil }
            self = .extend(by: duration)
        case .reject:
            guard let reason = reader.text(limit: NativeLimits.reasonBytes) else { return nil }
            self = .reject(reason: reason)
        default: return nil
        }
    }

    package func write(to buffer: inout ByteBuffer) {
        switch self {
        case .accept: break
        case .release(let delay, let countsAttempt):
            var flags: ReleaseFlags = []
            if delay != nil { flags.insert(.hasDelay) }
            if !countsAttempt { flags.insert(.isUncounted) }
            buffer.writeMultipleIntegers(flags.rawValue, delay ?? 0, endianness: .little)
        case .extend(let duration): buffer.writeU64(duration)
        case .reject(let reason): buffer.writeText(reason)
        }
    }
}

/// Messages of one lane, both ends included.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | u16 | lane |
/// | 2 | u64 | first sequence |
/// | 10 | u64 | last sequence |
package struct LaneRange: Equatable, Sendable {
    package static let byteCount = 18

    package var lane: UInt16
    package var first: UInt64
    package var last: UInt64

    package init(lane: UInt16, first: UInt64, last: UInt64) {
        self.lane = lane
        self.first = first
        self.last = last
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(lane, first, last, endianness: .little)
    }
}

/// The ranges behind a settlement, read in place: on the path of every acknowledgement.
package struct LaneRanges {
    private let bytes: UnsafeRawBufferPointer

    package init?(_ reader: inout WireReader) {
        guard let count = reader.count16(each: LaneRange.byteCount), let bytes = reader.raw(count * LaneRange.byteCount)
        else { return nil }
        self.bytes = bytes
    }

    package var count: Int { bytes.count / LaneRange.byteCount }

    /// The range with this index, which is below `count`.
    package subscript(index: Int) -> LaneRange {
        let at = index * LaneRange.byteCount
        return LaneRange(lane: bytes.load16(at), first: bytes.load64(at + 2), last: bytes.load64(at + 10))
    }
}

/// One delivery of one message, as anybody who has it can settle it.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | u32 | subscription id |
/// | 4 | u16 | lane |
/// | 6 | u64 | sequence |
/// | 14 | u64 | generation of the lease |
/// | 22 | u64 | first sequence of the lease |
/// | 30 | u64 | last sequence of the lease |
/// | 38 | u64 | signature of the lease |
package struct WireReceipt: Hashable, Sendable {
    package static let byteCount = 46

    package var subscription: UInt32
    package var lane: UInt16
    package var sequence: UInt64
    package var generation: UInt64
    package var first: UInt64
    package var last: UInt64
    package var signature: UInt64

    package init(
        subscription: UInt32,
        lane: UInt16,
        sequence: UInt64,
        generation: UInt64,
        first: UInt64,
        last: UInt64,
        signature: UInt64
    ) {
        self.subscription = subscription
        self.lane = lane
        self.sequence = sequence
        self.generation = generation
        self.first = first
        self.last = last
        self.signature = signature
    }

    package init?(_ reader: inout WireReader) {
        guard let subscription = reader.u32(), let lane = reader.u16(), let sequence = reader.u64(),
            let generation = reader.u64(), let first = reader.u64(), let last = reader.u64(),
            let signature = reader.u64()
        else { return nil }
        self.init(
            subscription: subscription,
            lane: lane,
            sequence: sequence,
            generation: generation,
            first: first,
            last: last,
            signature: signature
        )
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(
            subscription,
            lane,
            sequence,
            generation,
            first,
            last,
            signature,
            endianness: .little
        )
    }

    static func readList(_ reader: inout WireReader) -> [WireReceipt]? {
        guard let count = reader.count16(each: byteCount) else { return nil }
        var result: [WireReceipt] = []
        result.reserveCapacity(count)
        for _ in 0..<count {
            guard let receipt = WireReceipt(&reader) else { return nil }
            result.append(receipt)
        }
        return result
    }

    static func writeList(_ receipts: [WireReceipt], to buffer: inout ByteBuffer) {
        buffer.writeU16(UInt16(truncatingIfNeeded: receipts.count))
        for receipt in receipts.prefix(Int(UInt16.max)) { receipt.write(to: &buffer) }
    }
}

/// SETTLE_RECEIPTS: u16 opcode of the settlement, what that says, and receipts.
package struct SettleReceiptsBody: Equatable, Sendable {
    package var settlement: WireSettlement
    package var receipts: [WireReceipt]

    package init(settlement: WireSettlement, receipts: [WireReceipt]) {
        self.settlement = settlement
        self.receipts = receipts
    }

    package init?(_ reader: inout WireReader) {
        guard let opcode = reader.u16().flatMap({ Opcode(rawValue: $0) }),
            let settlement = WireSettlement(opcode, &reader), let receipts = WireReceipt.readList(&reader)
        else { return nil }
        self.init(settlement: settlement, receipts: receipts)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeU16(settlement.opcode.rawValue)
        settlement.write(to: &buffer)
        WireReceipt.writeList(receipts, to: &buffer)
    }
}

/// The answer to SETTLE_RECEIPTS and SETTLE_IN_TRANSACTION: a status for each receipt, 0 where it was accepted.
package enum SettleResults {
    package static func read(_ reader: inout WireReader) -> [UInt16]? {
        guard let count = reader.count16(each: 2) else { return nil }
        var result: [UInt16] = []
        result.reserveCapacity(count)
        for _ in 0..<count {
            guard let status = reader.u16() else { return nil }
            result.append(status)
        }
        return result
    }

    package static func write(_ results: [ErrorCode?], to buffer: inout ByteBuffer) {
        buffer.writeU16(UInt16(truncatingIfNeeded: results.count))
        for result in results { buffer.writeU16(result?.rawValue ?? 0) }
    }
}

/// BEGIN_TRANSACTION.
package struct BeginTransactionBody: Equatable, Sendable {
    package var checkAfterMicroseconds: UInt64
    package var checks: UInt32
    /// Those who can say what became of it; may be empty.
    package var owner: String

    package init(checkAfterMicroseconds: UInt64, checks: UInt32, owner: String) {
        self.checkAfterMicroseconds = checkAfterMicroseconds
        self.checks = checks
        self.owner = owner
    }

    package init?(_ reader: inout WireReader) {
        guard let checkAfter = reader.u64(), let checks = reader.u32(),
            let owner = reader.text(limit: NativeLimits.labelBytes)
        else { return nil }
        self.init(checkAfterMicroseconds: checkAfter, checks: checks, owner: owner)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(checkAfterMicroseconds, checks, endianness: .little)
        buffer.writeText(owner)
    }
}

/// SETTLE_IN_TRANSACTION: u64 transaction, receipts.
package struct SettleInTransactionBody: Equatable, Sendable {
    package var transaction: UInt64
    package var receipts: [WireReceipt]

    package init(transaction: UInt64, receipts: [WireReceipt]) {
        self.transaction = transaction
        self.receipts = receipts
    }

    package init?(_ reader: inout WireReader) {
        guard let transaction = reader.u64(), let receipts = WireReceipt.readList(&reader) else { return nil }
        self.init(transaction: transaction, receipts: receipts)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeU64(transaction)
        WireReceipt.writeList(receipts, to: &buffer)
    }
}

/// TRANSACTION_CHECK: u64 transaction, text owner.
package struct TransactionCheckBody: Equatable, Sendable {
    package var transaction: UInt64
    package var owner: String

    package init(transaction: UInt64, owner: String) {
        self.transaction = transaction
        self.owner = owner
    }

    package init?(_ reader: inout WireReader) {
        guard let transaction = reader.u64(), let owner = reader.text() else { return nil }
        self.init(transaction: transaction, owner: owner)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeU64(transaction)
        buffer.writeText(owner)
    }
}

/// CANCEL_SCHEDULED, and what a PRODUCE_ACK says of a batch that waits: u64 place in the log, u32 index of the record.
package struct WireScheduledID: Hashable, Sendable {
    package static let byteCount = 12

    /// 0 where there is none: the batch waits for its transaction, not for its time.
    package var position: UInt64
    package var record: UInt32

    package init(position: UInt64, record: UInt32) {
        self.position = position
        self.record = record
    }

    package init?(_ reader: inout WireReader) {
        guard let position = reader.u64(), let record = reader.u32() else { return nil }
        self.init(position: position, record: record)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(position, record, endianness: .little)
    }
}
