import AdminConsole
import ArgumentParser
import CMosquitto
import COpenSSL

/// `sluice version`.
struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Show the version.")

    @Flag(name: .shortAndLong, help: "Show what the binary is built with and linked to as well.")
    var verbose = false

    @OptionGroup var output: OutputOptions

    func run() {
        if !verbose, output.format == .table { return StandardStream.output.write("sluice \(Version.sluice)\n") }
        var record = Record([.init("sluice", .text(Version.sluice))])
        if verbose {
            record.fields += [
                .init("swift", .text(Version.compiler)),
                .init("openssl", .text(Version.openSSL)),
                .init("libmosquitto", .text(Version.libmosquitto)),
            ]
        }
        output.show(record)
    }
}

enum Version {
    static let sluice = "0.1.0"

    /// The compiler that built the binary; older ones than the first are refused by Package.swift.
    static var compiler: String {
        #if compiler(>=6.4)
        "6.4 or later"
        #elseif compiler(>=6.3)
        "6.3"
        #else
        "6.2"
        #endif
    }

    /// Of the library that is loaded, which may be newer than the one that was compiled against.
    static var openSSL: String { String(cString: OpenSSL_version(OPENSSL_VERSION)) }

    static var libmosquitto: String {
        var (major, minor, revision): (Int32, Int32, Int32) = (0, 0, 0)
        mosquitto_lib_version(&major, &minor, &revision)
        return "\(major).\(minor).\(revision)"
    }
}
