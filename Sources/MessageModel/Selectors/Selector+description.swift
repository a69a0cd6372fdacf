extension Selector: CustomStringConvertible {
    /// The selector as text in one normal form: parsed again, it gives the same selector.
    package var description: String {
        var text: [UInt8] = []
        if !nodes.isEmpty { write(nodes.count - 1, to: &text) }
        return String(decoding: text, as: UTF8.self)
    }

    /// How close a node holds together; one in parentheses holds closest.
    private enum Binding: Int {
        case or
        case and
        case not
        case predicate
    }

    private func binding(_ index: UInt16) -> Binding {
        switch nodes[Int(index)] {
        case .or: .or
        case .and: .and
        case .not: .not
        case .constant, .compare, .between, .isIn, .like, .isNull: .predicate
        }
    }

    private func write(_ index: Int, to text: inout [UInt8]) {
        switch nodes[index] {
        case .and(let left, let right):
            write(left, inParentheses: binding(left).rawValue <= Binding.and.rawValue, to: &text)
            text += " AND ".utf8
            write(right, inParentheses: binding(right) == .or, to: &text)
        case .or(let left, let right):
            write(left, inParentheses: binding(left) == .or, to: &text)
            text += " OR ".utf8
            write(right, inParentheses: false, to: &text)
        case .not(let inner):
            switch nodes[Int(inner)] {
            case .between, .isIn, .like, .isNull: writePredicate(Int(inner), isNegated: true, to: &text)
            case .and, .or, .not, .constant, .compare:
                text += "NOT ".utf8
                write(inner, inParentheses: binding(inner).rawValue < Binding.not.rawValue, to: &text)
            }
        case .constant, .compare, .between, .isIn, .like, .isNull: writePredicate(index, isNegated: false, to: &text)
        }
    }

    private func write(_ index: UInt16, inParentheses: Bool, to text: inout [UInt8]) {
        if inParentheses { text.append(UInt8(ascii: "(")) }
        write(Int(index), to: &text)
        if inParentheses { text.append(UInt8(ascii: ")")) }
    }

    private func writePredicate(_ index: Int, isNegated: Bool, to text: inout [UInt8]) {
        let not = isNegated ? " NOT" : ""
        switch nodes[index] {
        case .constant(let value): write(.boolean(value), to: &text)
        case .compare(let comparison, let left, let right):
            write(left, to: &text)
            text += " \(comparison.symbol) ".utf8
            write(right, to: &text)
        case .between(let value, let low, let high):
            write(value, to: &text)
            text += "\(not) BETWEEN ".utf8
            write(low, to: &text)
            text += " AND ".utf8
            write(high, to: &text)
        case .isIn(let name, let first, let count):
            write(.name(name), to: &text)
            text += "\(not) IN (".utf8
            for element in elements[Int(first)..<Int(first) + Int(count)] {
                if text.last != UInt8(ascii: "(") { text += ", ".utf8 }
                write(element, to: &text)
            }
            text.append(UInt8(ascii: ")"))
        case .like(let name, let pattern):
            write(.name(name), to: &text)
            text += "\(not) LIKE ".utf8
            pool.withUnsafeBytes { LikePattern.write($0.slice(pattern.range), to: &text) }
        case .isNull(let name):
            write(.name(name), to: &text)
            text += " IS\(not) NULL".utf8
        case .and, .or, .not: break
        }
    }

    private func write(_ operand: Operand, to text: inout [UInt8]) {
        switch operand {
        case .boolean(let value): text += value ? "TRUE".utf8 : "FALSE".utf8
        case .number(let slice): text += pool[slice.range]
        case .text(let slice): quote(pool[slice.range], with: UInt8(ascii: "'"), to: &text)
        case .name(let index):
            switch names[Int(index)] {
            case .field(let field): text += field.name.bytes
            case .property(let slice):
                let isPlain = pool.withUnsafeBytes { pool in
                    let name = pool.slice(slice.range)
                    return SelectorLexer.isPlainName(name) && SelectorField(named: name) == nil
                }
                if isPlain {
                    text += pool[slice.range]
                } else {
                    quote(pool[slice.range], with: UInt8(ascii: "\""), to: &text)
                }
            }
        }
    }

    private func quote(_ bytes: ArraySlice<UInt8>, with mark: UInt8, to text: inout [UInt8]) {
        text.append(mark)
        for byte in bytes {
            text.append(byte)
            if byte == mark { text.append(byte) }
        }
        text.append(mark)
    }
}
