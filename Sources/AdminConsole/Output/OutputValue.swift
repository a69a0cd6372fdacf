/// One value of a result: what a cell shows and what JSON carries.
package enum OutputValue: Sendable, Equatable {
    case none
    case text(String)
    case integer(Int64)
    case number(Double)
    case boolean(Bool)
    case list([OutputValue])
    /// Rows inside of a record.
    case listing(Listing)
    /// Fields inside of a record.
    case record(Record)

    package static func list(_ texts: [String]) -> OutputValue { .list(texts.map(OutputValue.text)) }
    package static func integer(_ number: Int) -> OutputValue { .integer(Int64(number)) }

    /// As a cell shows it, on one line.
    var cell: String {
        switch self {
        case .none: ""
        case .text(let text): printable(text)
        case .integer(let number): String(number)
        case .number(let number): String(number)
        case .boolean(let value): String(value)
        case .list(let values): values.map(\.cell).joined(separator: ", ")
        case .listing(let listing): listing.rows.map { $0.map(\.cell).joined(separator: " ") }.joined(separator: ", ")
        case .record(let record): record.fields.map { "\(printable($0.key))=\($0.value.cell)" }.joined(separator: ", ")
        }
    }
}

/// Writes values as JSON (RFC 8259), compact, in the order given.
package struct JSONWriter {
    package private(set) var text = ""

    package init() {}

    package mutating func append(_ value: OutputValue) {
        switch value {
        case .none: text += "null"
        case .text(let string): append(string: string)
        case .integer(let number): text += String(number)
        // JSON has no infinity and no "not a number".
        case .number(let number): text += number.isFinite ? String(number) : "null"
        case .boolean(let value): text += String(value)
        case .list(let values):
            text += "["
            for (index, value) in values.enumerated() {
                if index > 0 { text += "," }
                append(value)
            }
            text += "]"
        case .listing(let listing):
            text += "["
            for (index, row) in listing.rows.enumerated() {
                if index > 0 { text += "," }
                append(object: zip(listing.columns.map(\.key), row))
            }
            text += "]"
        case .record(let record): append(object: record.fields.map { ($0.key, $0.value) })
        }
    }

    package mutating func append(object fields: some Sequence<(String, OutputValue)>) {
        text += "{"
        for (index, (key, value)) in fields.enumerated() {
            if index > 0 { text += "," }
            append(string: key)
            text += ":"
            append(value)
        }
        text += "}"
    }

    private mutating func append(string: String) {
        text += "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            default:
                if scalar.isUnprintable {
                    let digits = String(scalar.value, radix: 16)
                    text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                } else {
                    text.unicodeScalars.append(scalar)
                }
            }
        }
        text += "\""
    }
}
