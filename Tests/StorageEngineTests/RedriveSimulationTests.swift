import Simulator
import Testing

/// Random histories of redrives against the oracle; `SLUICE_SIM_SEEDS` and `SLUICE_SIM_FIRST` as for the simulation of the
/// shard.
@Suite("Redrive simulation")
struct RedriveSimulationTests {
    @Test("each letter is sent back once, whatever fails")
    func shortRuns() throws {
        var sentBack = 0
        let first = ShardSimulationTests.first
        for seed in first..<first + ShardSimulationTests.seeds {
            sentBack += try RedriveSimulation(seed: seed).run(steps: 60).sentBack
        }
        #expect(sentBack > 0)
    }
}
