internal import MQTTProtocol
internal import MessageModel
internal import NIOCore
internal import StorageService

/// The values under `$SYS`, named as Mosquitto names them, so that what watches a Mosquitto can watch this.
///
/// They are not stored: who subscribes gets those of the moment, and from then on those that change.
struct SystemTopics {
    struct Value {
        let name: [UInt8]
        fileprivate(set) var payload: [UInt8] = []
        /// By the last update.
        fileprivate(set) var isChanged = false
    }

    static let prefix = Array("$SYS".utf8)
    private(set) var values: [Value] = []
    private var places: [String: Int] = [:]
    private var loads: [LoadAverage] = Array(repeating: LoadAverage(), count: Self.loadNames.count)

    private static let loadNames = [
        "messages/received", "messages/sent", "publish/dropped", "publish/received", "publish/sent", "bytes/received",
        "bytes/sent", "sockets", "connections",
    ]

    /// What is known at one moment.
    struct Moment {
        var version: String
        var uptimeSeconds: Int
        /// Since the last one; zero for the first.
        var seconds: Double
        var counters: FrontCounters
        var clients: Int
        var subscriptions: Int
        var sharedSubscriptions: Int
        /// Nil where storage did not say.
        var retained: Int?
        var sessions: StoredSessions?
    }

    /// Sessions that outlive their connections.
    struct StoredSessions: Equatable {
        var count: Int
        /// Since the start.
        var expired: Int
        var filters: Int
    }

    mutating func update(_ moment: Moment) {
        for index in values.indices { values[index].isChanged = false }
        let counters = moment.counters
        set("version", "sluice version \(moment.version)")
        set("uptime", "\(moment.uptimeSeconds) seconds")
        set("clients/connected", moment.clients)
        // What other versions of Mosquitto call it.
        set("clients/active", moment.clients)
        set("clients/maximum", counters.mostClients)
        if let sessions = moment.sessions {
            // What was made or ended since storage said so is counted the next time.
            let disconnected = max(0, sessions.count - counters.storedClients)
            set("clients/disconnected", disconnected)
            set("clients/inactive", disconnected)
            set("clients/total", moment.clients + disconnected)
            set("clients/expired", sessions.expired)
        }
        set("messages/received", counters.packetsReceived)
        set("messages/sent", counters.packetsSent)
        set("publish/messages/received", counters.publishesReceived)
        set("publish/messages/sent", counters.publishesSent)
        set("publish/messages/dropped", counters.publishesDropped)
        set("publish/bytes/received", counters.publishBytesReceived)
        set("publish/bytes/sent", counters.publishBytesSent)
        set("bytes/received", counters.bytesReceived)
        set("bytes/sent", counters.bytesSent)
        set("subscriptions/count", moment.subscriptions + (moment.sessions?.filters ?? 0))
        set("shared_subscriptions/count", moment.sharedSubscriptions)
        if let retained = moment.retained { set("retained messages/count", retained) }
        let counts = [
            counters.packetsReceived, counters.packetsSent, counters.publishesDropped, counters.publishesReceived,
            counters.publishesSent, counters.bytesReceived, counters.bytesSent, counters.sockets, counters.connects,
        ]
        for (index, name) in Self.loadNames.enumerated() {
            loads[index].update(counts[index], seconds: moment.seconds)
            for (average, minutes) in zip(loads[index].values, ["1min", "5min", "15min"]) {
                set("load/\(name)/\(minutes)", Self.text(average))
            }
        }
    }

    private mutating func set(_ name: String, _ number: some BinaryInteger) { set(name, String(number)) }

    private mutating func set(_ name: String, _ text: String) {
        let payload = Array(text.utf8)
        guard let place = places[name] else {
            places[name] = values.count
            values.append(Value(name: Array("$SYS/broker/\(name)".utf8), payload: payload, isChanged: true))
            return
        }
        guard values[place].payload != payload else { return }
        values[place].payload = payload
        values[place].isChanged = true
    }

    /// With two digits behind the point.
    private static func text(_ number: Double) -> String {
        let hundredths = UInt64(max(0, min(number * 100, 1e18)).rounded())
        let rest = hundredths % 100
        return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)"
    }
}

extension MQTTFront {
    /// Begins to publish values under `$SYS`, where that is wanted.
    func startSystemTopics() {
        guard options.systemIntervalMilliseconds > 0 else { return }
        updateSystemTopics()
        refreshSystemTopics()
        scheduleSystemTopics()
    }

    private func scheduleSystemTopics() {
        let interval = TimeAmount.milliseconds(options.systemIntervalMilliseconds)
        eventLoop.assumeIsolated().scheduleTask(in: interval) { [weak self] in
            guard let self else { return }
            refreshSystemTopics()
            scheduleSystemTopics()
        }
    }

    private func refreshSystemTopics() {
        housekeeper.ask(.health) { [weak self] result in
            guard let self else { return }
            if case .success(.health(let health)) = result {
                retainedCount = health.retainedMessages
                storedSessions = SystemTopics.StoredSessions(health.families)
            }
            updateSystemTopics()
            for reader in systemReaders.values { reader.sendSystemValues(onlyChanged: true) }
        }
    }

    private func updateSystemTopics() {
        let now = nowMilliseconds()
        system.update(
            SystemTopics.Moment(
                version: options.serverVersion,
                uptimeSeconds: Int((now - startedMilliseconds) / 1_000),
                seconds: Double(now - systemUpdatedMilliseconds) / 1_000,
                counters: counters,
                clients: counters.clients,
                subscriptions: counters.subscriptions,
                sharedSubscriptions: groups.count,
                retained: retainedCount,
                sessions: storedSessions
            )
        )
        systemUpdatedMilliseconds = now
    }
}

extension MQTTConnectionHandler {
    /// Sends the values under `$SYS` that the client subscribed to.
    func sendSystemValues(onlyChanged: Bool) {
        for value in front.system.values where value.isChanged || !onlyChanged {
            value.name.withUnsafeBytes { name in
                guard let match = filters.match(name, isOwn: false) else { return }
                sendSystemValue(value, match, isRetained: match.retainsAsPublished)
            }
        }
        writeOutput()
    }

    /// As last values come with a subscription (MQTT 5.0 §3.3.1.3).
    func sendSystemValues(for subscription: Subscription) {
        var match = FilterMatch()
        match.add(subscription)
        for value in front.system.values where subscription.filter.matches(value.name) {
            sendSystemValue(value, match, isRetained: true)
        }
    }

    private func sendSystemValue(_ value: SystemTopics.Value, _ match: FilterMatch, isRetained: Bool) {
        guard isConnected else { return }
        match.identifiers.withUnsafeBufferPointer { identifiers in
            value.name.withUnsafeBytes { name in
                value.payload.withUnsafeBytes { payload in
                    let packet = OutboundPublish(
                        version: version,
                        isRetained: isRetained,
                        topicRest: name,
                        payload: payload,
                        subscriptionIdentifiers: identifiers
                    )
                    _ = send(packet, token: .unleased, identifier: 0)
                }
            }
        }
    }
}

extension SystemTopics.StoredSessions {
    init(_ families: [String: SubscriptionFamily]) {
        let found = [SessionKey.prefix, SessionKey.longPrefix].compactMap { families[String($0.dropLast())] }
        count = found.reduce(0) { $0 + $1.count }
        expired = found.reduce(0) { $0 + $1.expired }
        filters = found.reduce(0) { $0 + ($1.values[UInt8(SessionKey.Kind.filter.rawValue)] ?? 0) }
    }
}

extension Subscription {
    /// Values of the server's own match it.
    var readsSystem: Bool { !filter.isShared && filter.matched.starts(with: SystemTopics.prefix) }
}
