internal import AMQPProtocol

/// The queues with a dead letter exchange that went last: a message that its consumer rejected just before the queue
/// ended with him, or that expired just before the queue did, still goes where it was to go.
struct FormerQueues: Sendable {
    /// Letters take milliseconds from storage to here; so many queues are let go of in this time at most.
    static let maximumCount = 1_024

    private var byInbox: [String: Queue] = [:]
    /// The inboxes in the order in which they are forgotten, from `oldest` on.
    private var order: [String] = []
    private var oldest = 0

    func queue(ofInbox name: String) -> Queue? { byInbox[name] }

    mutating func insert(_ queue: Queue) {
        guard !queue.isStream, queue.settings.deadLetterExchange != nil else { return }
        var former = queue
        former.incoming = []
        former.installed = [:]
        if byInbox.updateValue(former, forKey: queue.storageName) != nil { return }
        guard order.count == Self.maximumCount else {
            order.append(queue.storageName)
            return
        }
        byInbox[order[oldest]] = nil
        order[oldest] = queue.storageName
        oldest = (oldest + 1) % Self.maximumCount
    }
}
