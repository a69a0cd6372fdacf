package import StorageService

/// What storage, or the front, has to do for a change of the model. The model has changed already; the effects of one
/// change are carried out in their order, and the client is answered when all are durable.
package enum ModelEffect: Sendable, Equatable {
    /// A topic of an exchange or of a stream queue. One that is there already stays as it is.
    case createTopic(name: String, policy: TopicPolicy)
    /// The exchange or stream queue is gone. One that somebody else had made before is to stay.
    case deleteTopic(name: String)
    /// The inbox of a queue, with the bindings that it has from the beginning.
    case createInbox(name: String, policy: SubscriptionPolicy, bindings: [InboxBinding])
    case updatePolicy(inbox: String, policy: SubscriptionPolicy)
    case deleteInbox(name: String)
    case bind(inbox: String, InboxBinding)
    case unbind(inbox: String, InboxBinding)
    /// A value of the session state of `StorageNames.definitionsInbox`; nil: there is none under this number any more.
    case store(number: UInt64, value: [UInt8]?)
    /// For the front: the consumers of this queue are to be told that it is gone.
    case queueGone(QueueNumber)
}

/// Names a queue of one virtual host as long as it is there, and is not used again for a very long time.
package struct QueueNumber: RawRepresentable, Sendable, Hashable {
    package var rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
}

/// A binding of an inbox, with what else must hold of a message's key and headers: a queue that is reached from one
/// exchange through others has a binding to the first, with the bindings behind it as conditions.
package struct InboxBinding: Sendable, Hashable {
    package var binding: Binding
    /// All must hold too, over names below the same topic.
    package var also: [Condition]

    package struct Condition: Sendable, Hashable {
        package var kind: Binding.Kind
        package var pattern: [UInt8]
        package var arguments: [Binding.Argument]

        package init(kind: Binding.Kind, pattern: [UInt8], arguments: [Binding.Argument] = []) {
            self.kind = kind
            self.pattern = pattern
            self.arguments = arguments
        }
    }

    package init(_ binding: Binding, also: [Condition] = []) {
        self.binding = binding
        self.also = also
    }
}
