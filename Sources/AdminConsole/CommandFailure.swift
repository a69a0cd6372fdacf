/// Why a command failed, in a form for people and for scripts.
package struct CommandFailure: Error, Equatable {
    /// The exit code, by class of failure.
    package enum Class: Int32, Sendable {
        /// The server refused or failed, or the input is wrong.
        case failed = 1
        /// Some of what was asked was done.
        case partial = 3
        case notFound = 4
        /// Not signed in, or not permitted.
        case unauthorized = 5
        /// It exists otherwise, or is in a state that forbids this.
        case conflict = 6
        /// No server there, or no answer in time.
        case unreachable = 7
        /// The command line itself is wrong; the number is that of sysexits.h.
        case usage = 64
        /// Stopped from the keyboard.
        case interrupted = 130
    }

    package var exitClass: Class
    /// What happened.
    package var what: String
    package var why: String?
    /// What to do, at best a command.
    package var hint: String?

    package init(_ exitClass: Class, _ what: String, why: String? = nil, hint: String? = nil) {
        self.exitClass = exitClass
        self.what = what
        self.why = why
        self.hint = hint
    }

    /// `error:`, `why:` and `hint:` lines, each closed by a line feed.
    package var lines: String {
        var text = "error: \(printable(what))\n"
        if let why { text += "why:   \(printable(why))\n" }
        if let hint { text += "hint:  \(printable(hint))\n" }
        return text
    }
}
