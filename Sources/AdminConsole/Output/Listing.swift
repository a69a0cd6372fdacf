/// Rows of the same columns.
package struct Listing: Sendable, Equatable {
    package struct Column: Sendable, Equatable {
        package enum Alignment: Sendable { case left, right }

        /// The name in JSON.
        package var key: String
        /// The heading in a table.
        package var title: String
        package var alignment: Alignment

        package init(_ key: String, title: String? = nil, alignment: Alignment = .left) {
            self.key = key
            self.title = title ?? key.uppercased().replacing("_", with: " ")
            self.alignment = alignment
        }
    }

    package var columns: [Column]
    /// Each as long as the columns.
    package var rows: [[OutputValue]]

    package init(columns: [Column], rows: [[OutputValue]]) {
        self.columns = columns
        self.rows = rows
    }

    /// Aligned columns under headings; emphasised where the terminal can.
    func table(styled: Bool) -> String {
        let cells = rows.map { $0.map(\.cell) }
        let widths = columns.indices.map { column in
            cells.reduce(displayWidth(columns[column].title)) { max($0, displayWidth($1[column])) }
        }
        func line(_ cells: [String]) -> String {
            var text = ""
            for (index, cell) in cells.enumerated() {
                let padding = String(repeating: " ", count: widths[index] - displayWidth(cell))
                switch columns[index].alignment {
                case .left: text += cell + padding + "  "
                case .right: text += padding + cell + "  "
                }
            }
            while text.last == " " { text.removeLast() }
            return text
        }
        let heading = line(columns.map(\.title))
        return (styled ? "\u{1B}[1m\(heading)\u{1B}[0m\n" : heading + "\n") + cells.map { line($0) + "\n" }.joined()
    }

    /// One line a row, cells separated by tabs, no headings: for cut, awk and sort.
    var tabSeparated: String {
        rows.map { $0.map(\.cell).joined(separator: "\t") + "\n" }.joined()
    }
}

/// One thing and its fields.
package struct Record: Sendable, Equatable {
    package struct Field: Sendable, Equatable {
        /// The name in JSON.
        package var key: String
        package var value: OutputValue

        package init(_ key: String, _ value: OutputValue) {
            self.key = key
            self.value = value
        }
    }

    package var fields: [Field]

    package init(_ fields: [Field]) {
        self.fields = fields
    }

    /// `key: value` lines, and the tables below them.
    func table(styled: Bool) -> String {
        let width = fields.reduce(0) { max($0, $1.key.count) }
        var lines = ""
        var tables = ""
        for field in fields {
            if case .listing(let listing) = field.value {
                tables += "\n" + listing.table(styled: styled)
            } else {
                let label = field.key.replacing("_", with: " ") + ":"
                let padding = String(repeating: " ", count: width + 3 - label.count)
                let cell = field.value.cell
                lines += cell.isEmpty ? label + "\n" : label + padding + cell + "\n"
            }
        }
        return lines + tables
    }

    /// One line a field, key and value separated by a tab; the rows of a listing each on a line of their own.
    var tabSeparated: String {
        var text = ""
        for field in fields {
            if case .listing(let listing) = field.value {
                for row in listing.rows { text += "\(field.key)\t" + row.map(\.cell).joined(separator: "\t") + "\n" }
            } else {
                text += "\(field.key)\t\(field.value.cell)\n"
            }
        }
        return text
    }
}
