import Simulator
import Testing

/// Random histories of sessions against the oracle; `SLUICE_SIM_SEEDS` and `SLUICE_SIM_FIRST` as for the simulation of the
/// shard.
@Suite("Session simulation")
struct SessionSimulationTests {
    @Test("what was sent exactly once is got exactly once, whatever fails")
    func shortRuns() throws {
        var reports = SessionSimulation.Report()
        let first = ShardSimulationTests.first
        for seed in first..<first + ShardSimulationTests.seeds {
            let report = try SessionSimulation(seed: seed).run(steps: 200)
            reports.handedOver += report.handedOver
            reports.sentAgain += report.sentAgain
            reports.queued += report.queued
        }
        #expect(reports.handedOver > 0 && reports.sentAgain > 0 && reports.queued > 0)
    }
}
