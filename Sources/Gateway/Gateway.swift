package import MessageModel
package import StorageService

/// What stands between the fronts and storage: who somebody is, what they may do, and where a name belongs.
///
/// One gateway belongs to one event loop and serves the connections on it. Identities, permissions and quotas come with
/// tenants; until then everybody is the default tenant and may do everything.
package final class Gateway {
    package let storage: any StorageService
    /// What publishers get that do not say when they want to be told.
    package let acknowledgement: Acknowledgement
    /// Of the front whose clients have sessions; nil where it is not served.
    package weak var sessions: (any SessionDirectory)?

    package init(storage: any StorageService, acknowledgement: Acknowledgement = .durable) {
        self.storage = storage
        self.acknowledgement = acknowledgement
    }

    /// Opens a session for a connection that has not named a tenant.
    /// - Parameter delegate: held until the session is closed.
    package func openSession(delegate: any StorageSessionDelegate) -> GatewaySession {
        let tenant = TenantID.default
        return GatewaySession(
            tenant: tenant,
            topics: storage.topics,
            acknowledgement: acknowledgement,
            storage: storage.openSession(tenant: tenant, delegate: delegate)
        )
    }
}

/// One connection's way to storage.
package final class GatewaySession {
    package let tenant: TenantID
    package let topics: TopicDirectory
    /// When a message is acknowledged whose publisher does not say.
    package let acknowledgement: Acknowledgement
    /// The storage side: fetch, attach and requests go straight to it.
    package let storage: any StorageSession
    /// Its number there.
    package let number: UInt64

    init(
        tenant: TenantID,
        topics: TopicDirectory,
        acknowledgement: Acknowledgement,
        storage: any StorageSession
    ) {
        self.tenant = tenant
        self.topics = topics
        self.acknowledgement = acknowledgement
        self.storage = storage
        number = storage.number
    }

    /// The topic that messages of this name go to; nil where there is none, which a checked name never meets once the
    /// built-in topic exists.
    package func topic(holding name: UnsafeRawBufferPointer) -> TopicInfo? {
        topics.topic(holding: name, tenant: tenant)
    }

    package func topic(named name: String) -> TopicInfo? { topics.topic(named: name, tenant: tenant) }

    /// Finds what an address in a produce or consume request means.
    ///
    /// A topic's own name is that topic. Any other name is the topic that holds it, and the message's name in it.
    package func resolve(_ address: String) throws(SluiceError) -> ResolvedAddress {
        if let topic = topic(named: address) { return ResolvedAddress(topic: topic, name: nil) }
        let bytes = Array(address.utf8)
        let problem: SluiceError? = bytes.withUnsafeBytes { bytes in
            do throws(SluiceError) { try NameRules.checkFilter(bytes) } catch { return error }
            return nil
        }
        if let problem { throw problem }
        // The levels before the first wildcard decide: what they belong to holds everything below them, unless another
        // topic captures a part of it.
        let fixed = Self.fixedPrefix(of: bytes)
        let found = bytes.withUnsafeBytes { topic(holding: $0.slice(0..<fixed)) }
        guard let topic = found else {
            throw SluiceError(.topicNotFound, "no topic holds the name '\(address)'", hint: "sluice topic create NAME")
        }
        return ResolvedAddress(topic: topic, name: bytes)
    }

    /// The length of a filter up to its first level with a wildcard, without the `/` before that.
    static func fixedPrefix(of filter: [UInt8]) -> Int {
        guard let wildcard = filter.firstIndex(where: { $0 == NameRules.singleLevel || $0 == NameRules.multiLevel })
        else { return filter.count }
        return max(0, wildcard - 1)
    }
}

/// What an address means.
package struct ResolvedAddress {
    package let topic: TopicInfo
    /// The full name or filter below or beside the topic; nil where the address is the topic itself.
    package let name: [UInt8]?

    /// How records with this name say it.
    package var placement: NamePlacement? {
        guard let name else { return nil }
        return name.withUnsafeBytes { name in
            topic.nameBytes.withUnsafeBytes { NamePlacement(name: name, topic: $0) }
        }
    }
}
