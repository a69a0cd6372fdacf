package import MessageModel

/// A value that storage keeps with a subscription for whoever uses it, under a number of the user's choice. Storage does
/// not look into it.
package struct StateEntry: Sendable, Equatable {
    package var key: UInt64
    package var value: [UInt8]
    package init(key: UInt64, value: [UInt8] = []) {
        self.key = key
        self.value = value
    }
}

/// Changes of the session state of one subscription, in their order.
package struct StateChanges: Sendable, Equatable {
    package struct Change: Sendable, Equatable {
        package var key: UInt64
        /// Nil: there is nothing under this number any more.
        package var value: [UInt8]?
        package init(key: UInt64, value: [UInt8]?) {
            self.key = key
            self.value = value
        }
    }

    package var subscription: SubscriptionID
    package var changes: [Change]

    package init(subscription: SubscriptionID, changes: [Change] = []) {
        self.subscription = subscription
        self.changes = changes
    }

    package mutating func put(_ key: UInt64, _ value: [UInt8] = []) { changes.append(Change(key: key, value: value)) }
    package mutating func remove(_ key: UInt64) { changes.append(Change(key: key, value: nil)) }

    /// About what they take in the log.
    package var byteCount: Int { changes.reduce(16) { $0 + 16 + ($1.value?.count ?? 0) } }

    /// The longest value, in bytes: a will of the largest CONNECT fits.
    package static let maxValueBytes = 128 << 10
}

/// A value of one subscription's session state.
package struct SubscriptionState: Sendable, Equatable {
    package var id: SubscriptionID
    package var name: String
    /// Somebody consumes from it.
    package var isUsed: Bool
    package var value: [UInt8]
    package init(id: SubscriptionID, name: String, isUsed: Bool, value: [UInt8]) {
        self.id = id
        self.name = name
        self.isUsed = isUsed
        self.value = value
    }
}
