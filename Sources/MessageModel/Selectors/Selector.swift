/// A condition on the properties of a message: the subset of SQL-92 that RocketMQ and message selectors have
/// (Jakarta Messaging 3.1 §3.8.1), without arithmetic.
///
/// ```
/// region IN ('eu', 'us') AND (amount >= 100.50 OR vip) AND note NOT LIKE 'test\_%' ESCAPE '\' AND ref IS NOT NULL
/// ```
///
/// **Names** are letters, digits, `_`, `$` and `.`, not beginning with a digit or a point, or anything in double quotes
/// (`""` for one inside). They mean the first user property with that name, in its exact spelling, or a `SelectorField`.
/// **Literals** are `'text'` (`''` for a quote inside), numbers with sign, point and exponent, TRUE and FALSE. Keywords
/// are the same in upper and lower case. NOT binds closer than AND, and AND closer than OR.
///
/// **Comparison.** Properties have no type of their own: with a number they are compared as numbers, with text as text,
/// by bytes. Two properties are compared as numbers where both are. With TRUE and FALSE they are compared as the words,
/// in upper or lower case. Where one side is a number or a truth value and the other is not, `<>` is true and everything
/// else false. A name alone is a condition: `vip` is `vip = TRUE`.
///
/// **Missing properties** make a comparison unknown, as NULL does in SQL; AND, OR and NOT go on with that, and what is
/// unknown in the end does not match. `x NOT IN`, `NOT BETWEEN` and `NOT LIKE` are NOT of the whole.
///
/// **KEYS** stands for each of a message's keys: a condition holds where it holds for one of them, and `KEYS <> 'a'`
/// where no key is that.
///
/// A message on which a condition costs more than `stepsPerMessage` does not match it.
package struct Selector: Equatable, Sendable {
    /// Longest text: a filter is a line, not a program.
    package static let maxBytes = 4_096
    /// Parentheses and NOTs inside one another: bounds the stack that parsing and matching take.
    package static let maxDepth = 32
    /// Conditions and their connections.
    package static let maxNodes = 512
    /// Different names: bounds the work for each property of a message.
    package static let maxNames = 32
    /// About a millisecond. Only patterns and comparisons made to be slow on properties made to be slow come near it.
    package static let stepsPerMessage = 1 << 20

    enum Comparison: UInt8, Sendable {
        case equal
        case notEqual
        case less
        case lessOrEqual
        case greater
        case greaterOrEqual

        var symbol: String {
            switch self {
            case .equal: "="
            case .notEqual: "<>"
            case .less: "<"
            case .lessOrEqual: "<="
            case .greater: ">"
            case .greaterOrEqual: ">="
            }
        }
    }

    /// A part of `pool`.
    struct Slice: Equatable, Sendable {
        var start: UInt16
        var count: UInt16
        var range: Range<Int> { Int(start)..<Int(start) + Int(count) }
    }

    enum Operand: Equatable, Sendable {
        /// Index into `names`.
        case name(UInt8)
        case text(Slice)
        /// As it was written.
        case number(Slice)
        case boolean(Bool)
    }

    enum Name: Equatable, Sendable {
        case field(SelectorField)
        case property(Slice)
    }

    /// Numbers are indexes into `nodes`, or of the first of so many `elements`.
    enum Node: Equatable, Sendable {
        case and(UInt16, UInt16)
        case or(UInt16, UInt16)
        case not(UInt16)
        case constant(Bool)
        case compare(Comparison, Operand, Operand)
        case between(Operand, Operand, Operand)
        case isIn(name: UInt8, first: UInt16, count: UInt16)
        case like(name: UInt8, Slice)
        case isNull(name: UInt8)
    }

    /// Children before their parents: the last is the root. `a AND b AND c` leans to the right.
    var nodes: [Node] = []
    var names: [Name] = []
    /// What stands in the lists of IN.
    var elements: [Operand] = []
    /// The bytes of names, literals and patterns.
    var pool: [UInt8] = []

    init() {}

    /// Whether it asks for the message's full name.
    package var needsName: Bool { names.contains(.field(.name)) }

    package init(_ text: String) throws(SelectorError) {
        var text = text
        let result: Result<Selector, SelectorError> = text.withUTF8 { bytes in
            do throws(SelectorError) {
                return .success(try Selector(utf8: UnsafeRawBufferPointer(bytes)))
            } catch {
                return .failure(error)
            }
        }
        self = try result.get()
    }

    package init(utf8 text: UnsafeRawBufferPointer) throws(SelectorError) {
        guard text.count <= Self.maxBytes else {
            throw SelectorError("a selector has at most \(Self.maxBytes) bytes: too long", at: Self.maxBytes, in: text)
        }
        guard String(validating: text, as: UTF8.self) != nil else {
            throw SelectorError("a selector is UTF-8 text: other bytes", at: 0, in: text)
        }
        var parser = try SelectorParser(text)
        self = try parser.parse()
    }
}
