internal import MQTTProtocol
internal import MessageModel

/// The filters of one client, by numbers that storage knows them by.
struct FilterTable {
    private var places: [Subscription?] = []
    /// What each delivery asks of them, without a reference; where there is none it wants nothing.
    private var traits: [FilterTraits?] = []
    private(set) var count = 0
    private var nextFree: [UInt32] = []
    /// What the last name that was looked up came to: messages that follow each other often have one name.
    private var last: (name: [UInt8], match: FilterMatch?)?

    subscript(id: UInt32) -> Subscription? { Int(id) < places.count ? places[Int(id)] : nil }

    @inline(__always)
    func traits(_ id: UInt32) -> FilterTraits? { Int(id) < traits.count ? traits[Int(id)] : nil }

    /// Numbers and filters.
    var all: [(id: UInt32, subscription: Subscription)] {
        places.enumerated().compactMap { id, subscription in subscription.map { (UInt32(id), $0) } }
    }

    func id(of text: MQTTString) -> UInt32? {
        guard count > 0 else { return nil }
        return places.firstIndex { $0?.filter.text == text }.map { UInt32($0) }
    }

    /// Some client of the session asked not to get its own messages.
    private(set) var hasNoLocal = false

    mutating func insert(_ subscription: Subscription) -> UInt32 {
        let id = nextFree.popLast() ?? UInt32(places.count)
        set(id, subscription)
        return id
    }

    mutating func set(_ id: UInt32, _ subscription: Subscription) {
        while places.count <= Int(id) {
            if places.count < Int(id) { nextFree.append(UInt32(places.count)) }
            places.append(nil)
            traits.append(nil)
        }
        nextFree.removeAll { $0 == id }
        if places[Int(id)] == nil { count += 1 }
        places[Int(id)] = subscription
        traits[Int(id)] = FilterTraits(subscription)
        changed()
    }

    mutating func remove(_ id: UInt32) {
        guard self[id] != nil else { return }
        places[Int(id)] = nil
        traits[Int(id)] = nil
        nextFree.append(id)
        count -= 1
        changed()
    }

    private mutating func changed() {
        last = nil
        hasNoLocal = places.contains { $0?.isNoLocal == true }
    }

    /// What a message of this name that waited in the session's inbox comes to, by the filters of now.
    /// - Parameter isOwn: the client published it itself.
    mutating func match(_ name: UnsafeRawBufferPointer, isOwn: Bool) -> FilterMatch? {
        if isOwn, hasNoLocal { return find(name, isOwn: true) }
        if let last, last.name.withUnsafeBytes({ bytesEqual($0, name) }) { return last.match }
        let match = find(name, isOwn: false)
        last = (Array(name), match)
        return match
    }

    private func find(_ name: UnsafeRawBufferPointer, isOwn: Bool) -> FilterMatch? {
        var match: FilterMatch?
        for subscription in places {
            guard let subscription, !subscription.filter.isShared, !(isOwn && subscription.isNoLocal),
                subscription.filter.matches(name)
            else { continue }
            match = match ?? FilterMatch()
            match?.add(subscription)
        }
        return match
    }
}

/// What a delivery asks of a subscription.
struct FilterTraits {
    let qos: QoS
    let isNoLocal: Bool
    let retainsAsPublished: Bool
    let isShared: Bool
    /// Messages for it wait in the inbox of a stored session.
    let isBound: Bool
    let identifier: UInt32?

    init(_ subscription: Subscription) {
        qos = subscription.qos
        isNoLocal = subscription.isNoLocal
        retainsAsPublished = subscription.retainsAsPublished
        isShared = subscription.filter.isShared
        isBound = subscription.isBound
        identifier = subscription.identifier
    }
}

/// What several filters that match a message come to: one copy (MQTT 5.0 §3.3.4).
struct FilterMatch {
    var qos = QoS.atMostOnce
    var retainsAsPublished = false
    var identifiers: [UInt32] = []

    mutating func add(_ subscription: Subscription) { add(FilterTraits(subscription)) }

    @inline(__always)
    mutating func add(_ subscription: FilterTraits) {
        qos = max(qos, subscription.qos)
        if subscription.retainsAsPublished { retainsAsPublished = true }
        if let identifier = subscription.identifier { identifiers.append(identifier) }
    }
}
