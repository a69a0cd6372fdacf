internal import Gateway
internal import MessageModel
internal import NIOCore
internal import NativeProtocol
internal import StorageService

/// The ends of leases, and transactions.
extension NativeConnection {
    /// ACKNOWLEDGE, RELEASE, EXTEND_LEASE, REJECT of what one consumer has. With the one-way flag nobody is told.
    func settle(_ opcode: Opcode, _ frame: Frame) throws(SluiceError) {
        let (settlement, ranges) = try frame.decode { reader -> (WireSettlement, LaneRanges)? in
            guard let settlement = WireSettlement(opcode, &reader), let ranges = LaneRanges(&reader) else { return nil }
            return (settlement, ranges)
        }
        let isOneWay = frame.header.flags.contains(.oneWay)
        guard let (_, subscription) = subscription(frame.header.handle), subscription.isConsumer else {
            // A subscription that has ended meanwhile is nobody's mistake.
            if isOneWay { return }
            throw SluiceError(.notFound, "no consumer has this handle")
        }
        guard let storage = gatewaySession?.storage else { return }
        let outcome = Settlement(settlement)
        var token: UInt64?
        if !isOneWay {
            token = pending.insert(frame.header, .settlement)
            guard token != nil else { throw SluiceError(.busy, "\(pending.count) requests are waiting already") }
        }
        let handle = subscription.handle
        let last = ranges.count - 1
        guard last >= 0 else {
            // Nothing of its own to settle: answered when all before it is durable.
            if token != nil { storage.settle(attachment: handle, lane: 0, first: 1, last: 0, outcome, token: token) }
            return
        }
        for index in 0...last {
            let range = ranges[index]
            storage.settle(
                attachment: handle,
                lane: range.lane,
                first: range.first,
                last: range.last,
                outcome,
                token: index == last ? token : nil
            )
        }
    }

    func settleReceipts(_ frame: Frame) throws(SluiceError) {
        let request = try frame.decode { SettleReceiptsBody(&$0) }
        try ask(.settle(request.receipts.map { SignedReceipt($0) }, Settlement(request.settlement)), frame.header)
    }

    func transactionRequest(_ opcode: Opcode, _ frame: Frame) throws(SluiceError) {
        switch opcode {
        case .beginTransaction:
            let request = try frame.decode { BeginTransactionBody(&$0) }
            let specification = TransactionSpecification(
                owner: request.owner,
                checkAfterMicroseconds: request.checkAfterMicroseconds,
                checks: request.checks
            )
            try ask(.beginTransaction(specification), frame.header)
        case .settleInTransaction:
            let request = try frame.decode { SettleInTransactionBody(&$0) }
            let id = TransactionID(rawValue: request.transaction)
            try ask(.settleInTransaction(id, request.receipts.map { SignedReceipt($0) }), frame.header)
        case .commitTransaction:
            try ask(.commitTransaction(TransactionID(rawValue: try frame.decode { $0.u64() })), frame.header)
        case .rollBackTransaction:
            try ask(.rollBackTransaction(TransactionID(rawValue: try frame.decode { $0.u64() })), frame.header)
        default:
            let owner = try frame.decode { $0.text(limit: NativeLimits.labelBytes) }
            guard !owner.isEmpty else { throw SluiceError(.invalidArgument, "an owner has a name") }
            try ask(.adoptTransactions(owner: owner), frame.header)
        }
    }
}
