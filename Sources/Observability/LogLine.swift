import Logging

/// The bytes of one log line, closed by a line feed.
struct LogLine {
    private(set) var bytes: [UInt8] = []

    /// `2026-11-21T14:05:33.123Z warning mqtt: connection refused client=a7 reason="not authorised"`.
    mutating func appendText(
        at time: Timestamp,
        _ level: Logger.Level,
        _ label: String,
        _ message: String,
        _ metadata: Logger.Metadata,
        colors: Bool
    ) {
        append(time.description)
        append(" ")
        if colors { append(level.colorSequence) }
        // Names of levels have up to 8 letters; a column of them is easier on the eye.
        append(level.rawValue)
        if colors { append("\u{1B}[0m") }
        append(String(repeating: " ", count: 9 - level.rawValue.count))
        appendEscaped(label, quotes: false)
        append(": ")
        appendEscaped(message, quotes: false)
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            append(" ")
            appendEscaped(key, quotes: false)
            append("=")
            appendTextValue(value)
        }
        append("\n")
    }

    /// `{"ts":"…","level":"warning","logger":"mqtt","msg":"…","client":"a7"}`.
    mutating func appendJSON(
        at time: Timestamp,
        _ level: Logger.Level,
        _ label: String,
        _ message: String,
        _ metadata: Logger.Metadata
    ) {
        append("{\"ts\":")
        appendJSONString(time.description)
        append(",\"level\":")
        appendJSONString(level.rawValue)
        append(",\"logger\":")
        appendJSONString(label)
        append(",\"msg\":")
        appendJSONString(message)
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            append(",")
            // A metadata key never hides a field of the line itself.
            appendJSONString(["ts", "level", "logger", "msg"].contains(key) ? "_\(key)" : key)
            append(":")
            appendJSONValue(value)
        }
        append("}\n")
    }

    private mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }

    private mutating func appendTextValue(_ value: Logger.MetadataValue) {
        switch value {
        case .string(let text): appendWord(text)
        case .stringConvertible(let value): appendWord(value.description)
        case .array(let elements):
            append("[")
            for (index, element) in elements.enumerated() {
                if index > 0 { append(",") }
                appendTextValue(element)
            }
            append("]")
        case .dictionary(let pairs):
            append("{")
            for (index, (key, element)) in pairs.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 { append(",") }
                appendEscaped(key, quotes: false)
                append("=")
                appendTextValue(element)
            }
            append("}")
        }
    }

    /// The text as it is where it is one plain word, in quotes otherwise.
    private mutating func appendWord(_ text: String) {
        let plain = text.unicodeScalars.allSatisfy { scalar in
            !scalar.needsEscape && !" \"\\=,[]{}".unicodeScalars.contains(scalar)
        }
        if plain, !text.isEmpty { return append(text) }
        append("\"")
        appendEscaped(text, quotes: true)
        append("\"")
    }

    private mutating func appendEscaped(_ text: String, quotes: Bool) {
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n": append("\\n")
            case "\r": append("\\r")
            case "\t": append("\\t")
            case "\"", "\\":
                if quotes { append("\\") }
                bytes.append(UInt8(ascii: scalar))
            default:
                if scalar.needsEscape {
                    append("\\u{\(String(scalar.value, radix: 16, uppercase: true))}")
                } else {
                    bytes.append(contentsOf: UTF8.encode(scalar).map { Array($0) } ?? [])
                }
            }
        }
    }

    private mutating func appendJSONValue(_ value: Logger.MetadataValue) {
        switch value {
        case .string(let text): appendJSONString(text)
        case .stringConvertible(let value):
            // Numbers and truth values stay what they are; everything else is text.
            if value is any FixedWidthInteger || value is Bool {
                append(value.description)
            } else {
                appendJSONString(value.description)
            }
        case .array(let elements):
            append("[")
            for (index, element) in elements.enumerated() {
                if index > 0 { append(",") }
                appendJSONValue(element)
            }
            append("]")
        case .dictionary(let pairs):
            append("{")
            for (index, (key, element)) in pairs.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 { append(",") }
                appendJSONString(key)
                append(":")
                appendJSONValue(element)
            }
            append("}")
        }
    }

    private mutating func appendJSONString(_ text: String) {
        append("\"")
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": append("\\\"")
            case "\\": append("\\\\")
            case "\n": append("\\n")
            case "\r": append("\\r")
            case "\t": append("\\t")
            default:
                // None of those that need an escape lies outside of the 16-bit plane.
                if scalar.needsEscape {
                    let digits = String(scalar.value, radix: 16)
                    append("\\u" + String(repeating: "0", count: 4 - digits.count) + digits)
                } else {
                    bytes.append(contentsOf: UTF8.encode(scalar).map { Array($0) } ?? [])
                }
            }
        }
        append("\"")
    }
}

extension Unicode.Scalar {
    /// Characters that would start a new line, steer a terminal, or turn the direction of what follows.
    fileprivate var needsEscape: Bool {
        switch value {
        case 0x00...0x1F, 0x7F...0x9F, 0x200E...0x200F, 0x2028...0x202E, 0x2066...0x2069: true
        default: false
        }
    }
}

extension Logger.Level {
    fileprivate var colorSequence: String {
        switch self {
        case .trace, .debug: "\u{1B}[2m"
        case .info, .notice: "\u{1B}[32m"
        case .warning: "\u{1B}[33m"
        case .error, .critical: "\u{1B}[31m"
        }
    }
}
