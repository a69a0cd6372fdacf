import ArgumentParser
import Foundation

/// `Benchmarks startup`.
struct StartupBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "startup",
        abstract: "How long sluice version takes."
    )

    @OptionGroup var options: ServerOptions

    func run() throws {
        Report(notes: [try measure()]).show(options.output)
    }

    func measure() throws -> String {
        progress("startup")
        var times: [Double] = []
        for _ in 0..<30 {
            let start = MonotonicClock.nanoseconds()
            try runVersion()
            times.append(Double(MonotonicClock.nanoseconds() - start) / 1e6)
        }
        times.sort()
        let median = times[times.count / 2]
        let range = "\(Report.number(times[0])) to \(Report.number(times[times.count - 1]))"
        return "sluice version: \(Report.number(median)) ms (\(range), 30 runs), target < 30 ms: "
            + (median < 30 ? "met" : "MISSED")
    }

    private func runVersion() throws {
        let path = options.sluiceURL.path
        let process = try ChildProcess(path, ["version"])
        while process.read() != nil {}
        guard process.wait() == 0 else { throw BenchmarkError("\(path) version failed") }
    }
}
