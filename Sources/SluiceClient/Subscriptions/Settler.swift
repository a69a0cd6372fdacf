internal import NativeProtocol
internal import Synchronization

/// What of one delivery is not settled. Touched only by its settler, under its lock.
final class LeaseAccount: @unchecked Sendable {
    /// The attachment that it came by.
    let attachment: Int
    fileprivate(set) var open: UInt64
    /// µs since 1970; the largest number where the lease ends with the attachment.
    fileprivate(set) var deadline: UInt64

    init(attachment: Int, messages: UInt64, deadline: UInt64) {
        self.attachment = attachment
        open = messages
        self.deadline = deadline
    }
}

/// Gathers what the consumer's tasks say about messages until the event loop sends it: settlements of any number of
/// messages share frames, and give credit back.
final class Settler: Sendable {
    /// Settlements of one kind, in the order in which they were made.
    struct Group: Equatable {
        var settlement: WireSettlement
        var ranges: [LaneRange]
    }

    struct Outgoing {
        var groups: [Group] = []
        /// Of deliveries by an earlier connection, whose leases outlive it.
        var receipts: [(settlement: WireSettlement, receipt: WireReceipt)] = []
        /// Messages that are out of the consumer's hands.
        var credit: UInt64 = 0
        var isEmpty: Bool { groups.isEmpty && receipts.isEmpty && credit == 0 }
    }

    private struct State {
        /// What is attached now; nil between connections and at the end.
        var attachment: Int?
        var outgoing = Outgoing()
        var isWoken = false
        var accounts: [LeaseAccount] = []
    }

    private let state = Mutex(State())
    private let outliveConnection: Bool
    private let wake: @Sendable () -> Void

    /// - Parameter wake: called when there is something to be sent, once until it is taken.
    init(outliveConnection: Bool, wake: @escaping @Sendable () -> Void) {
        self.outliveConnection = outliveConnection
        self.wake = wake
    }

    /// A connection came or went. Leases that ended with the one before cannot be settled any more.
    func attached(_ attachment: Int?) {
        state.withLock { state in
            state.attachment = attachment
            state.outgoing.groups = []
            state.outgoing.credit = 0
            state.accounts = []
        }
    }

    /// A delivery came.
    func opened(_ account: LeaseAccount) { state.withLock { $0.accounts.append(account) } }

    /// - Parameters:
    ///   - first, last: indexes in the batch that are leased.
    /// - Throws: `leaseLost` where the lease ended with its connection.
    func settle(
        _ account: LeaseAccount,
        _ terms: LeaseTerms,
        first: UInt32,
        last: UInt32,
        _ settlement: Settlement
    ) throws(SluiceClientError) {
        let wire = settlement.wire
        let (isLost, isDue) = state.withLock { state -> (Bool, Bool) in
            if state.attachment == account.attachment {
                let range = LaneRange(lane: terms.lane, first: terms.sequence(first), last: terms.sequence(last))
                Self.add(wire, range, to: &state.outgoing.groups)
                if settlement.isFinal {
                    let done = min(account.open, UInt64(last - first) + 1)
                    account.open -= done
                    state.outgoing.credit += done
                } else if case .extend(let duration) = settlement {
                    account.deadline = max(account.deadline, SystemClock.microseconds() &+ duration.wholeMicroseconds)
                }
            } else if outliveConnection {
                for index in first...last {
                    state.outgoing.receipts.append((wire, terms.receipt(terms.sequence(index)).wire))
                }
            } else {
                return (true, false)
            }
            defer { state.isWoken = true }
            return (false, !state.isWoken)
        }
        guard !isLost else {
            throw SluiceClientError(
                .leaseLost,
                "the connection that the message came by is lost, and its lease with it",
                hint: "it is delivered again; leases that outlive the connection can be asked for"
            )
        }
        if isDue { wake() }
    }

    /// Joins what follows the range before, as settling one by one does it.
    private static func add(_ settlement: WireSettlement, _ range: LaneRange, to groups: inout [Group]) {
        let last = groups.count - 1
        guard last >= 0, groups[last].settlement == settlement else {
            groups.append(Group(settlement: settlement, ranges: [range]))
            return
        }
        let end = groups[last].ranges.count - 1
        let before = groups[last].ranges[end]
        if before.lane == range.lane, before.last &+ 1 == range.first, range.first > 0 {
            groups[last].ranges[end].last = range.last
        } else {
            groups[last].ranges.append(range)
        }
    }

    /// What is to be sent. Also gives back the credit for messages whose lease ended by its deadline.
    func take(now: UInt64) -> Outgoing {
        state.withLock { state in
            state.isWoken = false
            if state.attachment != nil {
                for account in state.accounts where account.deadline < now && account.open > 0 {
                    state.outgoing.credit += account.open
                    account.open = 0
                }
                state.accounts.removeAll { $0.open == 0 }
            }
            defer { state.outgoing = Outgoing() }
            return state.outgoing
        }
    }
}
