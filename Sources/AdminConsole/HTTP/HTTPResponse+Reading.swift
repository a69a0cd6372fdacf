import FoundationEssentials
package import OutboundHTTP

/// The error body of RFC 9457, as far as it is shown.
private struct ProblemDetails: Decodable {
    var title: String?
    var detail: String?
    var code: String?
    var hint: String?
}

extension HTTPResponse {
    /// The body as a value of the type; any status but 2xx is the failure that it stands for.
    /// - Parameter what: What was wanted, for the message: `"show topic orders"`.
    package func decoded<Value: Decodable>(
        _ type: Value.Type,
        toDo what: String
    ) throws(CommandFailure) -> Value {
        try requireSuccess(toDo: what)
        do {
            return try JSONDecoder().decode(type, from: Data(body))
        } catch {
            throw CommandFailure(
                .failed,
                "cannot \(what): the server's answer is not understood",
                why: contentType.map { "it is \($0) with status \(status)" } ?? "its status is \(status)",
                hint: "is the address that of a Sluice server of this version?"
            )
        }
    }

    package func requireSuccess(toDo what: String) throws(CommandFailure) {
        guard !(200...299).contains(status) else { return }
        var problem = ProblemDetails()
        if contentType == "application/problem+json" {
            problem = (try? JSONDecoder().decode(ProblemDetails.self, from: Data(body))) ?? problem
        }
        let why = problem.detail ?? problem.title ?? "the server answered with status \(status)"
        throw CommandFailure(
            exitClass,
            "cannot \(what)",
            why: problem.code.map { "\(why) (\($0))" } ?? why,
            hint: problem.hint
        )
    }

    private var exitClass: CommandFailure.Class {
        switch status {
        case 401, 403: .unauthorized
        case 404, 410: .notFound
        case 409, 412: .conflict
        // Not in time: the server itself, or something before it.
        case 408, 504: .unreachable
        default: .failed
        }
    }
}
