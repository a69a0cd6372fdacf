package import ArgumentParser

/// How a result is shown.
package enum OutputFormat: String, Sendable, CaseIterable, ExpressibleByArgument {
    /// Aligned on a terminal, tab-separated without headings in a pipe.
    case table
    /// One JSON document.
    case json

    package func render(_ listing: Listing, isTerminal: Bool, styled: Bool) -> String {
        switch self {
        case .table: isTerminal ? listing.table(styled: styled) : listing.tabSeparated
        case .json: json(.listing(listing))
        }
    }

    package func render(_ record: Record, isTerminal: Bool, styled: Bool) -> String {
        switch self {
        case .table: return isTerminal ? record.table(styled: styled) : record.tabSeparated
        case .json:
            var writer = JSONWriter()
            writer.append(object: record.fields.map { ($0.key, $0.value) })
            return writer.text + "\n"
        }
    }

    private func json(_ value: OutputValue) -> String {
        var writer = JSONWriter()
        writer.append(value)
        return writer.text + "\n"
    }
}

/// `-o table|json`, for every command that shows something.
package struct OutputOptions: ParsableArguments {
    @Option(
        name: [.customShort("o"), .customLong("output")],
        help: "How results are shown. A table in a pipe is tab-separated, without headings."
    )
    package var format: OutputFormat = .table

    package init() {}

    package func show(_ listing: Listing) {
        let stream = StandardStream.output
        stream.write(format.render(listing, isTerminal: stream.isTerminal, styled: stream.isStyled))
    }

    package func show(_ record: Record) {
        let stream = StandardStream.output
        stream.write(format.render(record, isTerminal: stream.isTerminal, styled: stream.isStyled))
    }
}
