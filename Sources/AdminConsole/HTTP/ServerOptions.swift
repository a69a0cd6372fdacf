package import ArgumentParser
import Glibc

/// Which server a command talks to.
package struct ServerOptions: ParsableArguments {
    @Option(help: "The server's HTTP address. Without it SLUICE_URL counts, then http://127.0.0.1:7480.")
    package var url: String?

    package init() {}

    package var exchange: ServerExchange {
        get throws(CommandFailure) {
            let inherited = getenv("SLUICE_URL").map { String(cString: $0) }
            return ServerExchange(server: try ServerURL(url ?? inherited ?? "http://127.0.0.1:7480"))
        }
    }
}
