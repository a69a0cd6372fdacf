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

    /// By posix_spawn itself: what Foundation's Process does around it takes longer than the program.
    private func runVersion() throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        defer { posix_spawn_file_actions_destroy(&actions) }
        let path = options.sluiceURL.path
        var pid: pid_t = 0
        let status = path.withCString { path in
            "version".withCString { word in
                var arguments = [UnsafeMutablePointer(mutating: path), UnsafeMutablePointer(mutating: word), nil]
                return posix_spawn(&pid, path, &actions, nil, &arguments, environ)
            }
        }
        guard status == 0 else {
            throw BenchmarkError("\(path) cannot be started: \(String(cString: strerror(status)))")
        }
        var result: Int32 = 0
        waitpid(pid, &result, 0)
        guard result == 0 else { throw BenchmarkError("\(path) version failed") }
    }
}
