import Foundation

/// What the system says of a process and of the machine, from /proc (proc(5)).
struct ProcessProbe {
    /// Times in seconds since some start, to be subtracted from each other.
    struct Reading {
        var at: ContinuousClock.Instant
        /// User and system time of all threads of the server, also of those that have ended.
        var server: Double
        var generator: Double
        /// Everything that kept a core busy, the two above included.
        var machine: Double
    }

    /// What happened between two readings.
    struct Interval {
        var seconds: Double
        var serverSeconds: Double
        var generatorSeconds: Double
        /// The CPU that everything else took, in percent of one core.
        var othersPercent: Double

        init(from start: Reading, to end: Reading) {
            let elapsed = end.at - start.at
            seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18
            serverSeconds = end.server - start.server
            generatorSeconds = end.generator - start.generator
            let others = end.machine - start.machine - serverSeconds - generatorSeconds
            othersPercent = max(0, others / seconds * 100)
        }
    }

    let pid: Int32
    private static let ticksPerSecond = Double(sysconf(Int32(_SC_CLK_TCK)))

    func read() -> Reading {
        let own = getpid()
        return Reading(
            at: .now,
            server: Self.cpuSeconds(of: pid),
            generator: own == pid ? 0 : Self.cpuSeconds(of: own),
            machine: Self.machineSeconds()
        )
    }

    /// Resident memory in KiB.
    var residentKiB: Int {
        let pages = Self.fields(of: pid).dropFirst(21).first.flatMap { Int($0) } ?? 0
        return pages * Int(sysconf(Int32(_SC_PAGESIZE))) / 1_024
    }

    private static func cpuSeconds(of pid: Int32) -> Double {
        let fields = fields(of: pid)
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return 0 }
        return (user + system) / ticksPerSecond
    }

    /// The fields of /proc/PID/stat from the third on: the second is a name that may hold anything.
    private static func fields(of pid: Int32) -> [Substring] {
        let text = contents("/proc/\(pid)/stat")
        guard let end = text.lastIndex(of: ")") else { return [] }
        return text[text.index(after: end)...].split(separator: " ")
    }

    private static func machineSeconds() -> Double {
        let line = contents("/proc/stat").split(separator: "\n").first ?? ""
        let times = line.split(separator: " ").dropFirst().prefix(8).compactMap { Double($0) }
        guard times.count == 8 else { return 0 }
        // user, nice, system, idle, iowait, irq, softirq, steal
        return (times.reduce(0, +) - times[3] - times[4]) / ticksPerSecond
    }

    private static func contents(_ path: String) -> String {
        // Files of /proc have no size, so that they are read to their end.
        guard let handle = FileHandle(forReadingAtPath: path) else { return "" }
        defer { try? handle.close() }
        let data = (try? handle.readToEnd()) ?? nil
        return data.map { String(decoding: $0, as: UTF8.self) } ?? ""
    }
}

enum MonotonicClock {
    /// Nanoseconds since some start.
    static func nanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
