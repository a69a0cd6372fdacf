internal import StorageService

/// Counts the subscriptions whose names begin alike, see `StorageHealth.families`.
final class FamilyCount {
    private var family = SubscriptionFamily()
    /// Values by their kind: some come and go with each message.
    @exclusivity(unchecked) private var values = [Int](repeating: 0, count: 256)

    var counted: SubscriptionFamily {
        var counted = family
        for (kind, count) in values.enumerated() where count > 0 { counted.values[UInt8(kind)] = count }
        return counted
    }

    func made() { family.count += 1 }
    func expired() { family.expired += 1 }

    func deleted(_ state: some Sequence<UInt64>) {
        family.count -= 1
        for key in state { removed(key) }
    }

    func put(_ key: UInt64) { values[Self.kind(key)] += 1 }
    func removed(_ key: UInt64) { values[Self.kind(key)] -= 1 }

    private static func kind(_ key: UInt64) -> Int { Int(key >> 56) }

    /// What a name begins with; nil for those of others.
    static func name(of subscription: String) -> String? {
        guard subscription.utf8.first == UInt8(ascii: "$"),
            let end = subscription.utf8.firstIndex(of: UInt8(ascii: "/"))
        else { return nil }
        return String(subscription[..<end])
    }
}

extension ShardState {
    mutating func family(of subscription: String) -> FamilyCount? {
        guard let name = FamilyCount.name(of: subscription) else { return nil }
        if let family = families[name] { return family }
        let family = FamilyCount()
        families[name] = family
        return family
    }
}
