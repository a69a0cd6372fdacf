import AdminConsole
import ArgumentParser
import Glibc
import SluiceClient

/// Which server a command talks to over the native protocol.
struct NativeServerOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The server's native address. Without it SLUICE_SERVER counts, then \(ServerAddress.local).",
            valueName: "host:port"
        )
    )
    var server: ServerAddress?

    private var address: ServerAddress {
        get throws(CommandFailure) {
            if let server { return server }
            guard let inherited = getenv("SLUICE_SERVER").map({ String(cString: $0) }) else { return .local }
            guard let address = ServerAddress(argument: inherited) else {
                throw CommandFailure(
                    .usage,
                    "SLUICE_SERVER is '\(inherited)', which is no address",
                    hint: "SLUICE_SERVER=\(ServerAddress.local)"
                )
            }
            return address
        }
    }

    /// Connects, lends the client, and closes it.
    func withClient<Result>(
        _ body: (SluiceClient) async throws -> Result
    ) async throws -> Result {
        let address = try address
        var configuration = ClientConfiguration(host: address.host, port: address.port)
        configuration.name = "sluice-cli"
        let client: SluiceClient
        do throws(SluiceClientError) {
            client = try await SluiceClient.connect(configuration)
        } catch {
            throw CommandFailure(error, toDo: "reach \(address)")
        }
        do {
            let result = try await body(client)
            await client.close()
            return result
        } catch {
            await client.close()
            throw error
        }
    }
}

extension CommandFailure {
    /// - Parameter what: what was wanted: `"show subscription jobs"`.
    init(_ error: SluiceClientError, toDo what: String) {
        let exitClass: Class
        var hint: String? = error.hint.isEmpty ? nil : error.hint
        switch error.code.rawValue >> 12 {
        case 0:
            exitClass = error.code == .closed ? .failed : .unreachable
            hint = hint ?? "is the server running there? --server or SLUICE_SERVER names another"
        case 1: exitClass = .unreachable
        case 3, 7: exitClass = .conflict
        case 5: exitClass = .unauthorized
        case 6: exitClass = .notFound
        default: exitClass = .failed
        }
        self.init(exitClass, "cannot \(what)", why: "\(error.message) (\(error.code))", hint: hint)
    }
}

/// Runs a client call, and says in the console's way why it failed.
func calling<Result>(
    _ what: String,
    _ body: () async throws(SluiceClientError) -> Result
) async throws(CommandFailure) -> Result {
    do throws(SluiceClientError) {
        return try await body()
    } catch {
        throw CommandFailure(error, toDo: what)
    }
}
