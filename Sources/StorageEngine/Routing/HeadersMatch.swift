package import MessageModel
package import StorageService

/// Which user properties a message must have, as an AMQP headers binding says it (RabbitMQ 4: `x-match` all, any,
/// all-with-x, any-with-x).
///
/// Values are compared byte for byte; an argument without a value asks for presence only. Where a message repeats a
/// property, one of its values is enough. No arguments are matched by every message with `all` and by none with `any`.
package struct HeadersMatch: Sendable, Equatable {
    /// Bounds the work for each message; they are also bits of one word.
    package static let argumentLimit = 64

    /// One argument is enough; otherwise all must hold.
    private let isAny: Bool
    /// In the order of their names, see `precedes`.
    private let arguments: [Binding.Argument]

    /// Reads the arguments of a binding, `x-match` among them; without it all must hold. Other arguments that begin with
    /// `x-` count only if `x-match` says so.
    ///
    /// Throws `invalidArgument` where `x-match` says something else, and `tooLarge` beyond 64 arguments.
    package init(_ arguments: [Binding.Argument]) throws(SluiceError) {
        let mode = arguments.first { $0.name.elementsEqual("x-match".utf8) }
        var withX = false
        switch mode?.value.map({ String(decoding: $0, as: UTF8.self) }) {
        case nil where mode == nil: isAny = false
        case "all": isAny = false
        case "any": isAny = true
        case "all-with-x":
            isAny = false
            withX = true
        case "any-with-x":
            isAny = true
            withX = true
        default:
            throw SluiceError(
                .invalidArgument,
                "x-match is none that is known",
                hint: "use all, any, all-with-x or any-with-x"
            )
        }
        let counted = arguments.filter { argument in
            !argument.name.elementsEqual("x-match".utf8) && (withX || !argument.name.starts(with: "x-".utf8))
        }
        guard counted.count <= Self.argumentLimit else {
            throw SluiceError(.tooLarge, "a headers binding has at most \(Self.argumentLimit) arguments")
        }
        self.arguments = counted.sorted { left, right in
            left.name.withUnsafeBytes { left in right.name.withUnsafeBytes { Self.precedes(left, $0) } }
        }
    }

    /// Whether encoded properties (`PropertyWriter`) have what is wanted. Nothing is allocated.
    package func matches(properties: UnsafeRawBufferPointer) -> Bool {
        guard !arguments.isEmpty else { return !isAny }
        let all = UInt64.max >> UInt64(64 - arguments.count)
        var held: UInt64 = 0
        var cursor = PropertyCursor(properties)
        while let (id, property) = cursor.next() {
            guard id == PropertyID.user.rawValue, let (name, value) = PropertyCursor.splitUser(property) else {
                continue
            }
            var place = PartitionIndex.firstIndex(in: 0..<arguments.count) { place in
                arguments[place].name.withUnsafeBytes { !Self.precedes($0, name) }
            }
            while place < arguments.count, arguments[place].name.withUnsafeBytes({ bytesEqual($0, name) }) {
                if arguments[place].value?.withUnsafeBytes({ bytesEqual($0, value) }) ?? true {
                    held |= 1 << UInt64(place)
                }
                place += 1
            }
            if isAny ? held != 0 : held == all { return true }
        }
        return false
    }

    /// Shorter names first, as that is quicker to compare.
    private static func precedes(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
        left.count != right.count ? left.count < right.count : left.lexicographicallyPrecedes(right)
    }
}
