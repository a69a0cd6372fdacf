/// Every verb of the storage boundary, also those that are designed and not there yet. docs/storage-service.md
/// describes each.
package enum StorageVerb: String, CaseIterable, Sendable {
    case append, fetch, attach, grantCredit, detach, commit
    case addFilter, removeFilter
    case createTopic, deleteTopic, describeTopic, listTopics
    case openProducer, findOffset
    case createSubscription, deleteSubscription, describeSubscription, listSubscriptions
    case health
    case acknowledge, release, extendLease, reject, seek, pause
    case bind, unbind
    case prepareTransaction, commitTransaction, rollBackTransaction
    case setRetained, getRetained, scanRetained
    case cancelScheduled
    case lookUp, browse, redrive
    case putSessionState, getSessionState, handOver
    case lease, retire

    /// Whether it is there.
    package var isSupported: Bool {
        switch self {
        case .append, .fetch, .attach, .grantCredit, .detach, .commit, .addFilter, .removeFilter, .createTopic,
            .deleteTopic, .describeTopic, .listTopics, .openProducer, .findOffset, .createSubscription,
            .deleteSubscription, .describeSubscription, .listSubscriptions, .health, .acknowledge, .release,
            .extendLease, .reject, .seek, .pause, .bind, .unbind, .prepareTransaction, .commitTransaction,
            .rollBackTransaction, .setRetained, .getRetained, .scanRetained, .cancelScheduled, .lookUp, .browse,
            .redrive, .putSessionState, .getSessionState, .handOver, .lease, .retire:
            true
        }
    }
}
