/// `${env:NAME}` and `${file:/path}`: a value that is kept elsewhere. Only whole values can be references, so that a
/// value is either all here or all there.
enum ValueReference {
    /// A referenced file is a secret or a short value, never more.
    static let maxFileSize = 64 << 10

    /// The text itself, or what it refers to.
    static func resolve(_ text: String, environment: [String: String]) throws(ValueProblem) -> String {
        guard text.contains("${") else { return text }
        guard text.hasPrefix("${"), text.hasSuffix("}"), !text.dropFirst(2).dropLast().contains("${") else {
            throw ValueProblem("a reference must be the whole value, not a part of '\(text)'")
        }
        let reference = text.dropFirst(2).dropLast()
        let parts = reference.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[1].isEmpty else {
            throw ValueProblem("'\(text)' is no reference", hint: "there are ${env:NAME} and ${file:/path}")
        }
        let target = String(parts[1])
        switch parts[0] {
        case "env":
            guard let value = environment[target] else {
                throw ValueProblem("the environment variable \(target) is not set")
            }
            return value
        case "file":
            do throws(FileReadProblem) {
                let content = try readTextFile(target, maxSize: maxFileSize)
                return String(content.last == "\n" ? content.dropLast() : content[...])
            } catch {
                throw ValueProblem(error.message)
            }
        default:
            throw ValueProblem("'\(parts[0])' is no kind of reference", hint: "there are ${env:NAME} and ${file:/path}")
        }
    }
}
