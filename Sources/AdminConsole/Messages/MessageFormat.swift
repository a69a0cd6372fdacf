import ArgumentParser

/// How a message is printed, in the manner of printf: `'%T %n %b\n'`.
package struct MessageFormat: Sendable, Equatable, ExpressibleByArgument {
    enum Piece: Sendable, Equatable {
        case literal([UInt8])
        case topic, name, partition, offset, key, time, body, bodySize, headers
    }

    package static let form = """
        %t topic, %n name, %p partition, %o offset, %k ordering key, %T time, %b body, %S its bytes, %h headers, \
        %% percent; \\n \\t \\r \\0 \\\\ \\xHH
        """

    let pieces: [Piece]

    /// The format of a line without options: name and body, on one line whatever they hold.
    package static let line = MessageFormat(pieces: [
        .name, .literal([UInt8(ascii: "\t")]), .body, .literal([UInt8(ascii: "\n")]),
    ])

    init(pieces: [Piece]) {
        self.pieces = pieces
    }

    package init?(argument text: String) {
        var pieces: [Piece] = []
        var literal: [UInt8] = []
        func close() {
            if !literal.isEmpty { pieces.append(.literal(literal)) }
            literal.removeAll()
        }
        var rest = Substring(text).utf8
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let letter = rest.popFirst() else { return nil }
                guard letter != UInt8(ascii: "%") else {
                    literal.append(letter)
                    continue
                }
                guard let piece = Self.piece(letter) else { return nil }
                close()
                pieces.append(piece)
            case UInt8(ascii: "\\"):
                guard let letter = rest.popFirst(), let value = Self.escape(letter, &rest) else { return nil }
                literal.append(value)
            default: literal.append(byte)
            }
        }
        close()
        self.pieces = pieces
    }

    private static func piece(_ letter: UInt8) -> Piece? {
        switch letter {
        case UInt8(ascii: "t"): .topic
        case UInt8(ascii: "n"): .name
        case UInt8(ascii: "p"): .partition
        case UInt8(ascii: "o"): .offset
        case UInt8(ascii: "k"): .key
        case UInt8(ascii: "T"): .time
        case UInt8(ascii: "b"): .body
        case UInt8(ascii: "S"): .bodySize
        case UInt8(ascii: "h"): .headers
        default: nil
        }
    }

    private static func escape(_ letter: UInt8, _ rest: inout Substring.UTF8View) -> UInt8? {
        switch letter {
        case UInt8(ascii: "n"): return 0x0A
        case UInt8(ascii: "t"): return 0x09
        case UInt8(ascii: "r"): return 0x0D
        case UInt8(ascii: "0"): return 0
        case UInt8(ascii: "\\"): return letter
        case UInt8(ascii: "x"):
            guard let high = rest.popFirst(), let low = rest.popFirst() else { return nil }
            return UInt8(String(decoding: [high, low], as: UTF8.self), radix: 16)
        default: return nil
        }
    }
}

/// What is done with bytes that a message brought before they are shown.
package enum Escaping: Sendable {
    /// Nothing: for files and pipes.
    case none
    /// What would steer a terminal is escaped; lines and tabs stay.
    case terminal
    /// A message stays on its line: whatever is not printable is escaped.
    case line
}

extension MessageFormat {
    package func append(_ message: ShownMessage, to output: inout [UInt8], escaping: Escaping) {
        for piece in pieces {
            switch piece {
            case .literal(let bytes): output += bytes
            case .topic: output.append(escaped: Array(message.topic.utf8), escaping)
            case .name: output.append(escaped: Array(message.name.utf8), escaping)
            case .partition: output += String(message.partition).utf8
            case .offset: output += String(message.offset).utf8
            case .key: output.append(escaped: message.orderingKey ?? [], escaping)
            case .time: output += TimeText.format(microseconds: message.storedAt).utf8
            case .body: output.append(escaped: message.body, escaping)
            case .bodySize: output += String(message.body.count).utf8
            case .headers:
                let text = message.headers.map { "\($0.name)=\($0.value)" }.joined(separator: ",")
                output.append(escaped: Array(text.utf8), escaping)
            }
        }
    }
}

extension [UInt8] {
    fileprivate mutating func append(escaped bytes: [UInt8], _ escaping: Escaping) {
        switch escaping {
        case .none: self += bytes
        case .line: append(escaped: bytes, printable)
        case .terminal:
            append(escaped: bytes) { text in
                text.split(separator: "\n", omittingEmptySubsequences: false)
                    .map { $0.split(separator: "\t", omittingEmptySubsequences: false).map { printable(String($0)) } }
                    .map { $0.joined(separator: "\t") }
                    .joined(separator: "\n")
            }
        }
    }

    private mutating func append(escaped bytes: [UInt8], _ other: (String) -> String) {
        // The common case costs no string.
        if bytes.allSatisfy({ (0x20..<0x7F).contains($0) }) {
            self += bytes
            return
        }
        let text = String(decoding: bytes, as: UTF8.self)
        self += Array(other(text).utf8)
    }
}
