import ArgumentParser
import Foundation

/// Which servers are measured, where they keep their data, and how often.
struct ServerOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The sluice to measure; without it the one beside this program.", valueName: "path"))
    var sluice: String?

    @Option(help: ArgumentHelp("Where the servers' data goes for the time of a run.", valueName: "path"))
    var directory: String?

    @Option(help: "How often each case is measured; the median counts.")
    var runs = 5

    @Option(help: ArgumentHelp("How long a run is measured.", valueName: "seconds"))
    var duration = 2.0

    @Option(help: ArgumentHelp("How long a run goes before it is measured.", valueName: "seconds"))
    var warmUp = 0.5

    @Flag(help: "Do not measure mosquitto beside it.")
    var noMosquitto = false

    @Option(name: [.customShort("o"), .customLong("output")], help: "How the result is shown.")
    var output: ReportFormat = .table

    func validate() throws {
        guard runs >= 1, duration > 0, warmUp >= 0 else { throw ValidationError("runs and times are positive") }
    }

    var sluiceURL: URL {
        if let sluice { return URL(fileURLWithPath: sluice) }
        let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "."
        return URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent("sluice")
    }

    var measuresMosquitto: Bool { !noMosquitto && ChildServer.hasMosquitto }
}
