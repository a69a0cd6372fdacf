/// Why the text of a selector or a tag expression was refused, and where.
package struct SelectorError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong, such as "expected a value after '>='".
    package var problem: String
    /// What stands there instead; nil where the problem says it.
    package var found: String?
    /// Bytes before the place.
    package var offset: Int
    /// The place as a person counts: the first character is in column 1.
    package var column: Int

    init(_ problem: String, found: String? = nil, at offset: Int, in text: UnsafeRawBufferPointer) {
        self.problem = problem
        self.found = found
        self.offset = offset
        // Bytes that continue a character of UTF-8 do not count.
        column = text.prefix(offset).reduce(1) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) }
    }

    package var description: String {
        "\(problem) at column \(column)" + (found.map { ", found \($0)" } ?? "")
    }

    /// As the answer to a request.
    package var asSluiceError: SluiceError { SluiceError(.invalidArgument, "the filter is not valid: \(description)") }
}
