import Simulator
import Testing

/// Random histories of deliveries against the oracle; `SLUICE_SIM_SEEDS` and `SLUICE_SIM_FIRST` as for the simulation of
/// the shard.
@Suite("Delivery simulation")
struct DeliverySimulationTests {
    static let first = ShardSimulationTests.first
    static let seeds = ShardSimulationTests.seeds

    @Test("every message comes to its end once, whatever is asked and whatever fails")
    func shortRuns() throws {
        var total = DeliverySimulation.Report()
        for seed in Self.first..<Self.first + Self.seeds { total += try DeliverySimulation(seed: seed).run(steps: 60) }
        // A simulation in which nothing happens finds nothing.
        #expect(total.delivered > 0 && total.redelivered > 0 && total.accepted > 0 && total.deadLetters > 0)
        #expect(total.scheduled > 0 && total.lives.powerCuts > 0 && total.lives.kills > 0 && total.lives.closes > 0)
    }

    @Test("a crash behind any disk operation takes back nothing that was answered")
    func crashPoints() throws {
        for seed in Self.first..<Self.first + max(Self.seeds / 10, 1) {
            _ = try DeliveryCrashPoints(seed: seed).run(steps: 60)
        }
    }

    @Test("a seed repeats its run")
    func repeats() throws {
        let reports = try (0..<2).map { _ in try DeliverySimulation(seed: 5).run(steps: 100) }
        #expect(reports[0] == reports[1])
    }
}
