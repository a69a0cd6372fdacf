/// Every operation of the protocol, also those that have their number and are not there yet.
package enum Opcode: UInt16, CaseIterable, Sendable {
    // The connection.
    case hello = 0x0001
    case auth = 0x0002
    case goaway = 0x0003
    case ping = 0x0004
    case cancel = 0x0005
    case health = 0x0006
    // Messages.
    case openProducer = 0x0101
    case produce = 0x0102
    case produceAck = 0x0103
    case closeProducer = 0x0104
    case subscribe = 0x0105
    case credit = 0x0106
    case deliver = 0x0107
    case unsubscribe = 0x0108
    case detached = 0x0109
    case fetch = 0x010A
    case findOffset = 0x010B
    case watch = 0x010C
    case unwatch = 0x010D
    case consumerChanged = 0x010E
    case topicNamed = 0x010F
    // Progress of subscriptions.
    case commit = 0x0201
    case acknowledge = 0x0202
    case release = 0x0203
    case extendLease = 0x0204
    case reject = 0x0205
    case seek = 0x0206
    case pause = 0x0207
    case settleReceipts = 0x0208
    // Transactions.
    case beginTransaction = 0x0301
    case commitTransaction = 0x0302
    case rollBackTransaction = 0x0303
    case settleInTransaction = 0x0304
    case adoptTransactions = 0x0305
    case transactionCheck = 0x0306
    // Other views of what is stored.
    case setRetained = 0x0401
    case getRetained = 0x0402
    case scanRetained = 0x0403
    case cancelScheduled = 0x0404
    case lookUp = 0x0405
    case browse = 0x0406
    case redrive = 0x0407
    case putSessionState = 0x0408
    case getSessionState = 0x0409
    // Administration.
    case createTopic = 0x1001
    case deleteTopic = 0x1002
    case describeTopic = 0x1003
    case listTopics = 0x1004
    case createSubscription = 0x1011
    case deleteSubscription = 0x1012
    case describeSubscription = 0x1013
    case listSubscriptions = 0x1014
    case updateSubscription = 0x1015
    case bind = 0x1021
    case unbind = 0x1022
    case listBindings = 0x1023

    /// The newest version of its body that this implementation speaks; 0 for what is not there yet.
    package var version: UInt16 {
        switch self {
        case .produce, .produceAck, .subscribe, .deliver, .createTopic, .describeTopic, .listTopics,
            .createSubscription, .describeSubscription, .listSubscriptions:
            2
        case .hello, .goaway, .ping, .cancel, .health, .openProducer, .closeProducer, .credit, .unsubscribe, .detached,
            .fetch, .findOffset, .consumerChanged, .topicNamed, .commit, .acknowledge, .release, .extendLease, .reject,
            .seek, .pause, .settleReceipts, .beginTransaction, .commitTransaction, .rollBackTransaction,
            .settleInTransaction, .adoptTransactions, .transactionCheck, .scanRetained, .cancelScheduled, .lookUp,
            .browse, .redrive, .deleteTopic, .deleteSubscription, .updateSubscription, .bind, .unbind, .listBindings:
            1
        case .auth, .watch, .unwatch, .setRetained, .getRetained, .putSessionState, .getSessionState:
            0
        }
    }

    package var isSupported: Bool { version > 0 }

    /// The word for it in the documentation and in error messages.
    package var name: String {
        var result = ""
        for character in "\(self)" {
            if character.isUppercase { result += "_" }
            result += character.uppercased()
        }
        return result
    }
}
