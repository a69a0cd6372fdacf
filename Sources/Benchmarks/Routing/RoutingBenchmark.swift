import ArgumentParser
import Foundation
import MessageModel
import StorageEngine
import StorageService

/// `Benchmarks routing`.
struct RoutingBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "routing",
        abstract: "The routing table alone: add, match and remove among many filters."
    )

    @Option(help: ArgumentHelp("Filters without a wildcard, each of another name.", valueName: "count"))
    var exact = 1_000_000

    @Option(help: ArgumentHelp("Filters with a wildcard.", valueName: "count"))
    var wildcards = 10_000

    @OptionGroup var options: ServerOptions

    func validate() throws {
        guard exact >= 1_000, exact <= 100_000_000, wildcards >= 0, wildcards <= 100_000_000 else {
            throw ValidationError("there are at least 1,000 filters without a wildcard")
        }
    }

    func run() throws {
        var report = Report()
        let (rows, note) = try measure()
        report.rows = rows
        report.notes = [note]
        report.show(options.output)
    }

    func measure() throws -> (rows: [Row], note: String) {
        func row(_ name: String, target: Double? = nil) -> Row {
            Row(name: "routing \(name)", server: "engine", runs: [], target: target)
        }
        var insertExact = row("add, exact")
        var insertWild = row("add, wildcard")
        var match = row("match, exact name and wildcards", target: 2)
        var miss = row("match, name without exact filter", target: 2)
        var fanOut = row("match, 1,000 targets, each")
        var removeExact = row("remove, exact")
        var removeWild = row("remove, wildcard")
        var note = ""
        var slowest = 0.0
        var grown: Int?
        let names = RoutingNames(count: exact)
        for run in 1...options.runs {
            progress("routing: run \(run)")
            var table = RoutingTable()
            let probe = ProcessProbe(pid: getpid())
            let before = probe.residentKiB
            insertExact.runs.append(
                try measured(exact, slowest: &slowest) { number in
                    let pattern = try NamePattern(filter: names[number])
                    table.insert(pattern, RoutingTarget(owner: UInt64(number), id: 1))
                }
            )
            let bytes = table.byteCount
            // Later runs use what the first one took from the system.
            let firstGrown = grown ?? (probe.residentKiB - before) / 1_024
            grown = firstGrown
            insertWild.runs.append(
                try measured(wildcards) { number in
                    table.insert(try names.wildcard(number), RoutingTarget(owner: UInt64(number % 1_000), id: 2))
                }
            )
            note =
                "\(exact) exact filters of \(names.meanLength) bytes: \(bytes >> 20) MiB counted, \(firstGrown) MiB of RSS; "
                + "with \(wildcards) wildcard filters \(table.byteCount >> 20) MiB counted"
            // A server has just read the name that it looks for: names are at hand, what the table has is not.
            let wanted = RoutingNames(count: exact, chosen: 1_000_000)
            var found: [RoutingTarget] = []
            var targets = 0
            match.runs.append(
                try measured(1_000_000) { number in
                    table.match(wanted[number], into: &found)
                    targets += found.count
                }
            )
            note +=
                "; \(Report.number(Double(targets) / 1_000_000)) targets a match; the slowest addition took \(Report.number(slowest / 1_000)) ms"
            miss.runs.append(
                try measured(1_000_000) { number in
                    let name = wanted[number]
                    table.match(UnsafeRawBufferPointer(rebasing: name.dropLast(1)), into: &found)
                }
            )
            let popular = try NamePattern(filter: names[0])
            for owner in 0..<1_000 as Range<UInt64> { table.insert(popular, RoutingTarget(owner: owner, id: 7)) }
            var each = try measured(1_000) { _ in table.match(names[0], into: &found) }
            each.messagesPerSecond *= 1_000
            each.cpuPerMessage /= 1_000
            fanOut.runs.append(each)
            for owner in 0..<1_000 as Range<UInt64> { table.remove(popular, RoutingTarget(owner: owner, id: 7)) }
            removeWild.runs.append(
                try measured(wildcards) { number in
                    table.remove(try names.wildcard(number), RoutingTarget(owner: UInt64(number % 1_000), id: 2))
                }
            )
            removeExact.runs.append(
                try measured(exact) { number in
                    let pattern = try NamePattern(filter: names[number])
                    table.remove(pattern, RoutingTarget(owner: UInt64(number), id: 1))
                }
            )
            guard table.isEmpty else { throw BenchmarkError("the table is not empty after everything was removed") }
        }
        return ([insertExact, insertWild, match, miss, fanOut, removeExact, removeWild], note)
    }

    /// Runs `body` so many times. Latencies have the clock in them, about 50 ns.
    /// - Parameter slowest: is raised to the longest of them, in µs.
    private func measured(
        _ count: Int,
        slowest: inout Double,
        _ body: (Int) throws -> Void
    ) throws -> Measurement {
        let probe = ProcessProbe(pid: getpid())
        var latencies = LatencyHistogram()
        let machine = probe.read()
        let cpu = Self.cpuNanoseconds()
        var last = MonotonicClock.nanoseconds()
        for number in 0..<count {
            try body(number)
            let now = MonotonicClock.nanoseconds()
            latencies.add(nanoseconds: now - last)
            last = now
        }
        let used = Self.cpuNanoseconds() - cpu
        var measurement = Measurement(
            messages: count,
            ProcessProbe.Interval(from: machine, to: probe.read()),
            latencies
        )
        slowest = max(slowest, latencies.percentile(1))
        measurement.cpuPerMessage = Double(used) / 1_000 / Double(max(1, count))
        measurement.residentKiB = probe.residentKiB
        return measurement
    }

    private func measured(_ count: Int, _ body: (Int) throws -> Void) throws -> Measurement {
        var slowest = 0.0
        return try measured(count, slowest: &slowest, body)
    }

    private static func cpuNanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}

/// Names of about 30 bytes, one after the other, and patterns with wildcards that match some of them.
private struct RoutingNames {
    private var bytes: [UInt8] = []
    private var ends: [Int] = [0]

    /// All names, or so many of them in no order.
    init(count: Int, chosen: Int? = nil) {
        bytes.reserveCapacity((chosen ?? count) * 32)
        ends.reserveCapacity((chosen ?? count) + 1)
        var random = Scrambled()
        for place in 0..<(chosen ?? count) {
            let number = chosen == nil ? place : random.next(below: count)
            let name = "plant/\(number % 1_000)/line/\(number / 1_000 % 100)/device/\(1_000_000 + number)"
            bytes.append(contentsOf: name.utf8)
            ends.append(bytes.count)
        }
    }

    var meanLength: Int { bytes.count / max(1, ends.count - 1) }

    subscript(_ number: Int) -> UnsafeRawBufferPointer {
        // The array is never changed again, and lives as long as this.
        bytes.withUnsafeBytes { UnsafeRawBufferPointer(rebasing: $0[ends[number]..<ends[number + 1]]) }
    }

    /// MQTT filters of several shapes, and an AMQP binding with `#` in front: of ten, one each.
    func wildcard(_ number: Int) throws -> NamePattern {
        let filter =
            switch number % 10 {
            case 0: "plant/\(number / 10)/#"
            case 1: "plant/+/line/+/device/\(1_000_000 + number * 97 % 1_000_000)"
            case 2: "+/\(number / 10)/line/+/device/+"
            case 3: "plant/\(number / 10)/line/+/device/\(1_000_000 + number)/#"
            case 4...8: "plant/\(number / 10)/line/\(number % 100)/#"
            default: ""
            }
        guard filter.isEmpty else { return try Array(filter.utf8).withUnsafeBytes { try NamePattern(filter: $0) } }
        let key = Array("#.device.\(1_000_000 + number)".utf8)
        return try BindingPattern(Binding(kind: .topic, topic: "plant", pattern: key)).names
    }
}

/// Numbers in no order, the same each time.
private struct Scrambled {
    private var state: UInt64 = 1

    mutating func next(below bound: Int) -> Int {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int(state >> 33) % bound
    }
}
