import Glibc
import Simulator
import Testing

/// Random histories of a shard against the oracle. `SLUICE_SIM_SEEDS` is the number of seeds, `SLUICE_SIM_FIRST` the
/// first of them; a violation prints its seed and the last things that happened.
@Suite("Shard simulation")
struct ShardSimulationTests {
    static func setting(_ name: String, _ standard: UInt64) -> UInt64 {
        getenv(name).flatMap { UInt64(String(cString: $0)) } ?? standard
    }

    static let first = setting("SLUICE_SIM_FIRST", 1)
    static let seeds = setting("SLUICE_SIM_SEEDS", 100)

    @Test("whatever is asked and whatever fails, what was promised is kept")
    func shortRuns() throws {
        var total = ShardSimulation.Report()
        for seed in Self.first..<Self.first + Self.seeds { total += try ShardSimulation(seed: seed).run(steps: 60) }
        // A simulation in which nothing happens finds nothing.
        #expect(total.durable > 0 && total.delivered > 0 && total.routed > 0 && total.duplicates > 0)
        #expect(total.lives.powerCuts > 0 && total.lives.kills > 0 && total.lives.closes > 0)
    }

    @Test("long histories with many segments, snapshots and lives keep it too")
    func longRuns() throws {
        for seed in Self.first..<Self.first + max(Self.seeds / 50, 1) {
            _ = try ShardSimulation(seed: seed).run(steps: 500)
        }
    }

    @Test("a flipped bit is reported, and nothing else is lost with it")
    func damage() throws {
        for seed in Self.first..<Self.first + Self.seeds / 2 {
            _ = try ShardSimulation(seed: seed).runWithDamage(steps: 60)
        }
    }

    @Test("a crash behind any disk operation loses nothing that was durable and brings nothing back")
    func crashPoints() throws {
        for seed in Self.first..<Self.first + max(Self.seeds / 50, 1) {
            let report = try CrashPoints(seed: seed).run(steps: 60)
            #expect(report.openings > report.operations)
        }
    }

    @Test("a seed repeats its run")
    func repeats() throws {
        let reports = try (0..<2).map { _ in try ShardSimulation(seed: 7).run(steps: 200) }
        #expect(reports[0] == reports[1])
    }
}
