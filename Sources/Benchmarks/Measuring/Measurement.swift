/// What one run found.
struct Measurement: Sendable {
    var messagesPerSecond = 0.0
    /// Server CPU, user and system, in µs.
    var cpuPerMessage = 0.0
    /// Microseconds.
    var p50 = 0.0
    var p99 = 0.0
    var p999 = 0.0
    var residentKiB = 0
    var generatorPercent = 0.0
    var othersPercent = 0.0
    /// Messages that did not come, came twice, or came out of their order.
    var faults = 0

    init() {}

    init(messages: Int, _ interval: ProcessProbe.Interval, _ latencies: LatencyHistogram) {
        messagesPerSecond = Double(messages) / interval.seconds
        cpuPerMessage = interval.serverSeconds * 1e6 / Double(max(1, messages))
        p50 = latencies.percentile(0.5)
        p99 = latencies.percentile(0.99)
        p999 = latencies.percentile(0.999)
        generatorPercent = interval.generatorSeconds / interval.seconds * 100
        othersPercent = interval.othersPercent
    }
}

/// The runs of one case against one server.
struct Row: Sendable {
    var name: String
    var server: String
    var runs: [Measurement]
    /// The most CPU per message that is wanted, in µs.
    var target: Double?
    /// The most CPU per message that is wanted, as a multiple of mosquitto's.
    var targetRatio: Double?

    private func median(_ value: (Measurement) -> Double) -> Double {
        let sorted = runs.map(value).sorted()
        guard !sorted.isEmpty else { return 0 }
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }

    /// Each value is the median of the runs, apart from the others.
    var summary: Measurement {
        var result = Measurement()
        result.messagesPerSecond = median(\.messagesPerSecond)
        result.cpuPerMessage = median(\.cpuPerMessage)
        result.p50 = median(\.p50)
        result.p99 = median(\.p99)
        result.p999 = median(\.p999)
        result.residentKiB = Int(median { Double($0.residentKiB) })
        result.generatorPercent = median(\.generatorPercent)
        result.othersPercent = median(\.othersPercent)
        result.faults = runs.reduce(0) { $0 + $1.faults }
        return result
    }

    var smallestCPU: Double { runs.map(\.cpuPerMessage).min() ?? 0 }
    var largestCPU: Double { runs.map(\.cpuPerMessage).max() ?? 0 }
}
