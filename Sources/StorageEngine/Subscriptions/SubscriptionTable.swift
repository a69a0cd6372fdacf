internal import MessageModel
internal import StorageService

/// The subscriptions by their numbers, which follow each other: a place in an array each, so that a delivery costs no
/// hashing.
struct SubscriptionTable {
    private var logged: [Subscription?] = []
    /// Those that are not in the log, numbered from `SubscriptionID.firstTransient` on.
    private var transient: [Subscription?] = []
    private(set) var count = 0

    subscript(id: SubscriptionID) -> Subscription? {
        get {
            let number = id.rawValue
            guard number >= SubscriptionID.firstTransient else {
                return number < logged.count ? logged[Int(number)] : nil
            }
            let place = Int(number - SubscriptionID.firstTransient)
            return place < transient.count ? transient[place] : nil
        }
        set {
            let number = id.rawValue
            if number >= SubscriptionID.firstTransient {
                let place = Int(number - SubscriptionID.firstTransient)
                Self.set(&transient, place, newValue, &count)
            } else {
                Self.set(&logged, Int(number), newValue, &count)
            }
        }
    }

    private static func set(_ list: inout [Subscription?], _ place: Int, _ value: Subscription?, _ count: inout Int) {
        if place >= list.count {
            guard value != nil else { return }
            list.append(contentsOf: repeatElement(nil, count: place + 1 - list.count))
        }
        count += (value == nil ? 0 : 1) - (list[place] == nil ? 0 : 1)
        list[place] = value
        if value == nil { while let last = list.last, last == nil { list.removeLast() } }
    }

    mutating func removeValue(forKey id: SubscriptionID) -> Subscription? {
        defer { self[id] = nil }
        return self[id]
    }

    var isEmpty: Bool { count == 0 }

    /// In the order of their numbers.
    var values: some Sequence<Subscription> { [logged, transient].lazy.joined().compactMap { $0 } }
}
