import AdminConsole

/// What a run of `sluice bench` found.
struct BenchSummary: Sendable {
    var messages = 0
    var bytes = 0
    var batches = 0
    var elapsed = Duration.zero
    var latencies = LatencySamples()

    var record: Record {
        let seconds = max(1e-9, Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18)
        func rounded(_ value: Double, _ digits: Double) -> OutputValue { .number((value * digits).rounded() / digits) }
        var fields: [Record.Field] = [
            .init("messages", .integer(messages)),
            .init("seconds", rounded(seconds, 1_000)),
            .init("messages_per_second", .integer(Int(Double(messages) / seconds))),
            .init("megabytes_per_second", rounded(Double(bytes) / seconds / 1e6, 10)),
            .init("messages_per_batch", rounded(Double(messages) / Double(max(1, batches)), 10)),
        ]
        if !latencies.isEmpty {
            var sorted = latencies
            for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1)] {
                fields.append(.init("latency_\(name)_us", .integer(sorted.percentile(share))))
            }
        }
        return Record(fields)
    }
}

/// Latencies in µs.
struct LatencySamples: Sendable {
    private var values: [UInt32] = []
    private var isSorted = true

    var isEmpty: Bool { values.isEmpty }

    mutating func add(microseconds: UInt64) {
        values.append(UInt32(clamping: microseconds))
        isSorted = false
    }

    /// The smallest value that so large a share of the samples does not exceed.
    mutating func percentile(_ share: Double) -> Int {
        guard !values.isEmpty else { return 0 }
        if !isSorted {
            values.sort()
            isSorted = true
        }
        let index = Int((share * Double(values.count)).rounded(.up)) - 1
        return Int(values[max(0, min(index, values.count - 1))])
    }
}

/// Tells on standard error, each second, how it goes.
final class BenchProgress: Sendable {
    private let ticker: Task<Void, Never>

    init(_ messages: @escaping @Sendable () -> Int) {
        ticker = Task {
            var before = messages()
            var second = 0
            while (try? await Task.sleep(for: .seconds(1))) != nil {
                second += 1
                let now = messages()
                StandardStream.error.write("\(second) s: \(now - before) messages/s\n")
                before = now
            }
        }
    }

    func stop() { ticker.cancel() }
}
