import Testing

@testable import MQTTFront

@Suite("$SYS")
struct SystemTopicsTests {
    private func moment(_ counters: FrontCounters = FrontCounters(), seconds: Double = 0, uptime: Int = 0)
        -> SystemTopics.Moment
    {
        SystemTopics.Moment(
            version: "1.0",
            uptimeSeconds: uptime,
            seconds: seconds,
            counters: counters,
            clients: 1,
            subscriptions: 3,
            sharedSubscriptions: 4,
            retained: nil
        )
    }

    private func changed(_ topics: SystemTopics) -> Set<String> {
        Set(topics.values.filter(\.isChanged).map { String(decoding: $0.name, as: UTF8.self) })
    }

    private func value(_ name: String, _ topics: SystemTopics) -> String? {
        topics.values.first { $0.name.elementsEqual("$SYS/broker/\(name)".utf8) }.map {
            String(decoding: $0.payload, as: UTF8.self)
        }
    }

    @Test("all values are new at first, and then only those are that change")
    func changes() {
        var topics = SystemTopics()
        topics.update(moment())
        #expect(topics.values.allSatisfy { $0.isChanged })
        #expect(value("version", topics) == "sluice version 1.0" && value("uptime", topics) == "0 seconds")
        #expect(value("retained messages/count", topics) == nil)
        topics.update(moment())
        #expect(changed(topics).isEmpty)
        var counters = FrontCounters()
        counters.sent(payloadBytes: 10)
        var next = moment(counters, uptime: 7)
        next.retained = 5
        topics.update(next)
        #expect(
            changed(topics) == [
                "$SYS/broker/uptime", "$SYS/broker/messages/sent", "$SYS/broker/publish/messages/sent",
                "$SYS/broker/publish/bytes/sent", "$SYS/broker/retained messages/count",
            ]
        )
        #expect(value("publish/bytes/sent", topics) == "10")
    }

    @Test("clients are those that are connected, and those with stored sessions that are not")
    func sessions() {
        var counters = FrontCounters()
        counters.clientConnected(isStored: true)
        counters.clientConnected(isStored: false)
        var topics = SystemTopics()
        var now = moment(counters)
        topics.update(now)
        #expect(value("clients/total", topics) == nil && value("subscriptions/count", topics) == "3")
        now.clients = 2
        now.sessions = SystemTopics.StoredSessions(count: 5, expired: 7, filters: 20)
        topics.update(now)
        #expect(value("clients/disconnected", topics) == "4" && value("clients/total", topics) == "6")
        #expect(value("clients/expired", topics) == "7" && value("subscriptions/count", topics) == "23")
        // A session was made since storage was asked.
        counters.clientLeft(isStored: false)
        for _ in 0..<9 { counters.clientConnected(isStored: true) }
        now.counters = counters
        topics.update(now)
        #expect(value("clients/disconnected", topics) == "0")
    }

    @Test("a steady rate becomes the load average, the sooner the shorter it looks back")
    func loads() {
        var load = LoadAverage()
        var count: UInt64 = 0
        for _ in 0..<6 {
            count += 100
            load.update(count, seconds: 10)
        }
        // 600 a minute, for one minute.
        #expect(load.values[0] > load.values[1] && load.values[1] > load.values[2])
        #expect(abs(load.values[0] - 600 * 0.632) < 1)
        for _ in 0..<1_000 {
            count += 100
            load.update(count, seconds: 10)
        }
        #expect(load.values.allSatisfy { abs($0 - 600) < 1 })
        load.update(count, seconds: 0)
        #expect(abs(load.values[0] - 600) < 1)
    }

    @Test("loads are written with two digits")
    func digits() {
        var counters = FrontCounters()
        counters.sockets = 1
        var topics = SystemTopics()
        topics.update(moment())
        topics.update(moment(counters, seconds: 60))
        #expect(value("load/sockets/1min", topics) == "0.63")
        #expect(value("load/sockets/15min", topics) == "0.06")
        #expect(value("load/connections/1min", topics) == "0.00")
    }
}
