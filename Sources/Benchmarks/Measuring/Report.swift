import ArgumentParser
import Foundation

enum ReportFormat: String, ExpressibleByArgument, CaseIterable {
    case table, json
}

/// Rows as a table for people or as JSON for programs.
struct Report {
    var rows: [Row] = []
    /// One line each, for what is not a row of the table.
    var notes: [String] = []

    /// The median of mosquitto in the same case, where it was measured.
    private func peer(of row: Row) -> Row? {
        row.server == "mosquitto" ? nil : rows.first { $0.name == row.name && $0.server == "mosquitto" }
    }

    private func ratio(_ row: Row) -> Double? {
        guard let peer = peer(of: row), peer.summary.cpuPerMessage > 0 else { return nil }
        return row.summary.cpuPerMessage / peer.summary.cpuPerMessage
    }

    private func verdict(_ row: Row) -> (text: String, isMet: Bool)? {
        if let target = row.target {
            return ("≤ \(Self.number(target)) µs", row.summary.cpuPerMessage <= target)
        }
        if let target = row.targetRatio, let ratio = ratio(row) {
            return ("≤ \(Self.number(target)) ×", ratio <= target)
        }
        return nil
    }

    func show(_ format: ReportFormat) {
        switch format {
        case .table: print(table)
        case .json: print(json)
        }
    }

    private var table: String {
        var lines: [[String]] = [
            [
                "case", "server", "msg/s", "CPU µs/msg", "min–max", "p50 µs", "p99 µs", "p99.9 µs", "RSS MiB", "gen %",
                "others %", "faults", "× mosquitto", "target",
            ]
        ]
        for row in rows {
            let summary = row.summary
            let verdict = verdict(row)
            lines.append([
                row.name, row.server, Self.count(summary.messagesPerSecond), Self.number(summary.cpuPerMessage),
                "\(Self.number(row.smallestCPU))–\(Self.number(row.largestCPU))", Self.number(summary.p50),
                Self.number(summary.p99), Self.number(summary.p999), "\(summary.residentKiB / 1_024)",
                "\(Int(summary.generatorPercent))", "\(Int(summary.othersPercent))", "\(summary.faults)",
                ratio(row).map(Self.number) ?? "", verdict.map { "\($0.text) \($0.isMet ? "met" : "MISSED")" } ?? "",
            ])
        }
        var text = ""
        if !rows.isEmpty {
            let widths = lines[0].indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
            for (index, line) in lines.enumerated() {
                let cells = zip(line, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }
                text += "| " + cells.joined(separator: " | ") + " |\n"
                if index == 0 {
                    text += "|" + widths.map { String(repeating: "-", count: $0 + 2) }.joined(separator: "|") + "|\n"
                }
            }
        }
        for note in notes { text += "\(text.isEmpty ? "" : "\n")\(note)" }
        return text
    }

    private var json: String {
        let objects = rows.map { row -> [String: Any] in
            let summary = row.summary
            var object: [String: Any] = [
                "case": row.name, "server": row.server, "runs": row.runs.count,
                "messages_per_second": summary.messagesPerSecond.rounded(),
                "server_cpu_us_per_message": summary.cpuPerMessage,
                "server_cpu_us_per_message_min": row.smallestCPU,
                "server_cpu_us_per_message_max": row.largestCPU,
                "latency_p50_us": summary.p50, "latency_p99_us": summary.p99, "latency_p999_us": summary.p999,
                "resident_kib": summary.residentKiB, "generator_cpu_percent": summary.generatorPercent,
                "others_cpu_percent": summary.othersPercent, "faults": summary.faults,
            ]
            if let ratio = ratio(row) { object["ratio_to_mosquitto"] = ratio }
            if let verdict = verdict(row) {
                object["target"] = verdict.text
                object["target_met"] = verdict.isMet
            }
            return object
        }
        let document: [String: Any] = ["rows": objects, "notes": notes]
        let data = try? JSONSerialization.data(withJSONObject: document, options: [.prettyPrinted, .sortedKeys])
        return data.map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }

    /// Three significant digits.
    static func number(_ value: Double) -> String {
        switch abs(value) {
        case 0: "–"
        case ..<10: String(format: "%.2f", value)
        case ..<100: String(format: "%.1f", value)
        default: String(format: "%.0f", value)
        }
    }

    private static func count(_ value: Double) -> String {
        switch value {
        case 1e6...: String(format: "%.2f M", value / 1e6)
        case 1e3...: String(format: "%.1f k", value / 1e3)
        default: String(format: "%.0f", value)
        }
    }
}

/// Says on standard error what is going on.
func progress(_ text: String) {
    FileHandle.standardError.write(Data((text + "\n").utf8))
}
