import AdminConsole
import SluiceClient

/// Writes messages to standard output, as many as come at a time in one go.
struct MessagePrinter: Sendable {
    enum Style: Sendable {
        case format(MessageFormat, Escaping)
        /// A JSON object a line.
        case json
    }

    private let style: Style
    private var pending: [UInt8] = []

    init(_ style: Style) {
        self.style = style
    }

    mutating func append(_ message: Message) {
        let shown = ShownMessage(message)
        switch style {
        case .format(let format, let escaping): format.append(shown, to: &pending, escaping: escaping)
        case .json: pending += OutputFormat.json.render(shown.record, isTerminal: false, styled: false).utf8
        }
    }

    /// - Returns: false where nobody reads any more.
    mutating func flush() -> Bool {
        guard !pending.isEmpty else { return true }
        defer { pending.removeAll(keepingCapacity: true) }
        return StandardStream.output.write(pending)
    }
}
