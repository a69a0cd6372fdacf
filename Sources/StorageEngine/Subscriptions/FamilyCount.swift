internal import StorageService

/// Counts the subscriptions whose names begin alike, see `StorageHealth.families`.
final class FamilyCount {
    private(set) var counted = SubscriptionFamily()

    func made() { counted.count += 1 }
    func expired() { counted.expired += 1 }

    func deleted(_ state: some Sequence<UInt64>) {
        counted.count -= 1
        for key in state { removed(key) }
    }

    func put(_ key: UInt64) { counted.values[Self.kind(key), default: 0] += 1 }

    func removed(_ key: UInt64) {
        let rest = (counted.values[Self.kind(key)] ?? 0) - 1
        counted.values[Self.kind(key)] = rest > 0 ? rest : nil
    }

    private static func kind(_ key: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: key >> 56) }

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
