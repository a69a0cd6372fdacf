import Glibc

/// Asks before something is destroyed.
package enum Confirmation {
    /// Has the user type the name of what is to go.
    /// - Throws: `usage` where nobody can be asked, `interrupted` where the answer is another.
    package static func require(_ kind: String, named name: String) throws(CommandFailure) {
        guard isatty(0) == 1 else {
            throw CommandFailure(
                .usage,
                "deleting \(kind) \(name) needs a confirmation",
                why: "standard input is no terminal, so nobody can be asked",
                hint: "--yes confirms"
            )
        }
        StandardStream.error.write("This deletes \(kind) \(printable(name)). Its name, to confirm: ")
        guard readLine() == name else {
            throw CommandFailure(.interrupted, "nothing was deleted", why: "the name was not confirmed")
        }
    }
}
