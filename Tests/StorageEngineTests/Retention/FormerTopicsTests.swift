import MessageModel
import Simulator
import StorageService
import Testing

@testable import StorageEngine

@Suite("Topics that are deleted while messages of them wait")
struct FormerTopicsTests {
    /// Two messages of a topic wait in an inbox, and the topic is deleted.
    private func bench() throws -> (DeliveryBench, TopicID) {
        let bench = try DeliveryBench { options in
            options.segmentBytes = 16 << 10
            options.trimPauseMicroseconds = 10_000
            options.surveyPauseMicroseconds = 1_000
        }
        let topic = try bench.topic("plant")
        try bench.inbox("q", ["plant/#"]) { policy in
            policy.nameFilter = Array("plant/+".utf8)
            policy.deadLetterTopic = "dead"
        }
        bench.publish(topic, [.init("0:first", key: "a"), .init("1:second", key: "b")])
        bench.ask(.deleteTopic(name: "plant"))
        return (bench, topic)
    }

    /// So much comes and goes that everything that was there before is moved.
    private func churn(_ bench: DeliveryBench, _ name: String) throws {
        let ring = try bench.topic(name) { $0.maxBytes = 20_000 }
        let oldest = bench.segments.last ?? 0
        for number in 0..<600 {
            bench.publish(ring, DeliveryBench.body(number))
            bench.pass(milliseconds: 20)
        }
        #expect(bench.segments.first ?? 0 > oldest)
        bench.ask(.deleteTopic(name: name))
    }

    private func name(_ bench: DeliveryBench, _ topic: TopicID) -> String {
        String(decoding: bench.shard.directory.name(of: topic), as: UTF8.self)
    }

    @Test("they are delivered, and die, under their full names", arguments: [false, true])
    func names(isMoved: Bool) throws {
        let (bench, topic) = try bench()
        if isMoved { try churn(bench, "ring") }
        #expect(name(bench, topic) == "plant")
        bench.consume("q")
        let got = bench.take()
        #expect(got.map(\.body) == ["0:first", "1:second"])
        bench.settle(got[0], .reject(reason: "no"))
        bench.accept(got[1])
        #expect(try bench.backlog("q") == 0)
        let dead = try #require(bench.shard.state.topic(named: "dead", tenant: .default)).info.id
        try bench.cursor("letters", dead)
        bench.consume("letters", as: 2)
        #expect(bench.take().map(\.body) == ["0:first"])
        #expect(bench.properties["0:first"]?[DeadLetterProperty.name] == "plant/a")
        #expect(bench.properties["0:first"]?[DeadLetterProperty.topic] == "plant")
    }

    @Test("their names outlive crashes, wherever they stand", arguments: [false, true])
    func crashes(withoutFiles: Bool) throws {
        let (bench, topic) = try bench()
        for round in 0..<2 {
            try bench.reopen(bench.disk.crashed(seed: UInt64(round)), withoutFiles: withoutFiles)
            #expect(name(bench, topic) == "plant")
            try churn(bench, "ring\(round)")
        }
        try bench.reopen(bench.disk.crashed(seed: 9), withoutFiles: withoutFiles)
        #expect(bench.shard.damaged == [])
        bench.consume("q")
        #expect(bench.take().map(\.body) == ["0:first", "1:second"])
    }

    @Test("a name is forgotten with the last of its messages")
    func forgotten() throws {
        let (bench, topic) = try bench()
        bench.consume("q")
        for message in bench.take() { bench.accept(message) }
        #expect(name(bench, topic) == "plant")
        try churn(bench, "ring")
        #expect(name(bench, topic) == "")
        #expect(bench.shard.state.former[topic] == nil)
        // Nobody had anything of this one.
        let other = try bench.topic("other")
        bench.publish(other, "2:third")
        bench.ask(.deleteTopic(name: "other"))
        #expect(name(bench, other) == "")
    }

    @Test("a topic of the same name is another one")
    func again() throws {
        let (bench, topic) = try bench()
        let new = try bench.topic("plant")
        #expect(new != topic)
        bench.publish(new, [.init("2:third", key: "a")])
        bench.ask(.deleteTopic(name: "plant"))
        bench.consume("q")
        #expect(bench.take().map(\.body) == ["0:first", "1:second", "2:third"])
    }
}
