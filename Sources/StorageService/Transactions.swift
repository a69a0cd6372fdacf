package import MessageModel

/// An open transaction, for as long as its shard lives; never used again.
package struct TransactionID: Hashable, Sendable, RawRepresentable {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
}

package struct TransactionSpecification: Sendable, Equatable {
    /// Names those who can say what became of it: asked when it is open for too long. May be empty.
    package var owner: String
    /// How long it may be open before its owner is asked, in µs.
    package var checkAfterMicroseconds: UInt64
    /// How often the owner is asked, so long after each other, before it is rolled back.
    package var checks: UInt32

    package init(owner: String = "", checkAfterMicroseconds: UInt64 = 60_000_000, checks: UInt32 = 15) {
        self.owner = owner
        self.checkAfterMicroseconds = checkAfterMicroseconds
        self.checks = checks
    }
}

/// A message that waits for its time: where it stands in the log and in its batch.
package struct ScheduledID: Hashable, Sendable {
    package var position: LogPosition
    package var record: UInt32
    package init(position: LogPosition, record: UInt32) {
        self.position = position
        self.record = record
    }
}

/// How an append is to be done.
package struct AppendOptions: Sendable, Equatable {
    package var acknowledgement: Acknowledgement
    /// Stored and invisible until this transaction is committed.
    package var transaction: TransactionID?
    /// Changes of a session state that are made with it, or not at all where it is not stored.
    package var state: StateChanges?
    /// Whose the records are, in their order, where several sessions' messages are in one batch; empty: all are those of
    /// the session that appends.
    package var owners: [RecordOwner] = []
    /// What the records have, where whoever made the batch knows it; nil: it is looked at.
    package var traits: BatchTraits?
    /// The answer says which messages nobody took, see `AppendResult.unrouted`. Costs one match for each of those.
    package var reportsUnrouted = false
    /// Where an inbox that refuses what it has no room for is full, only that inbox does not get the messages that do not
    /// fit, and the answer names them (`AppendResult.refused`); otherwise the whole batch is refused. Without meaning for
    /// messages that are published later.
    package var refusesSingly = false

    package init(
        acknowledgement: Acknowledgement = .durable,
        transaction: TransactionID? = nil,
        state: StateChanges? = nil
    ) {
        self.acknowledgement = acknowledgement
        self.transaction = transaction
        self.state = state
    }
}

/// Records of a batch that follow each other and are of one session.
package struct RecordOwner: Sendable, Equatable {
    /// See `StorageSession.number`.
    package var session: UInt64
    package var count: Int
    package init(session: UInt64, count: Int) {
        self.session = session
        self.count = count
    }
}
