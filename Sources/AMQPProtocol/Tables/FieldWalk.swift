/// One field in place: its type and where its value lies.
package struct FieldView: Sendable, Hashable {
    package var type: FieldType
    /// Positions of the name, without its length; empty in an array.
    package var name: Range<Int>
    /// Positions of the value: behind the letter, and behind the length where there is one.
    package var value: Range<Int>
    /// Positions of letter, length and value.
    package var encoded: Range<Int>
}

/// Walks the fields of an encoded table, or of an array, without allocating. Every length is checked; values inside are
/// walked only by who asks for them.
package struct FieldWalk {
    private var reader: ByteReader
    private let hasNames: Bool

    /// - Parameter bytes: the content of the table, without its length.
    package init(table bytes: UnsafeRawBufferPointer) {
        reader = ByteReader(bytes)
        hasNames = true
    }

    /// - Parameter bytes: the content of the array, without its length.
    package init(array bytes: UnsafeRawBufferPointer) {
        reader = ByteReader(bytes)
        hasNames = false
    }

    /// Bytes of a range in a field that this walk returned.
    package func bytes(_ range: Range<Int>) -> UnsafeRawBufferPointer { reader.slice(range) }

    /// The next field, or nil at the end. One that runs past the end of its table is another mistake than a table that
    /// runs past its frame.
    mutating func next() throws(WireError) -> FieldView? {
        if reader.isAtEnd { return nil }
        do throws(WireError) { return try read() } catch { throw .malformedTable }
    }

    private mutating func read() throws(WireError) -> FieldView {
        let name = hasNames ? try reader.takeShortString() : reader.position..<reader.position
        let start = reader.position
        guard let type = FieldType(rawValue: try reader.readUInt8()) else { throw .malformedTable }
        let value = if let size = type.fixedSize { try reader.take(size) } else { try reader.takeLongString() }
        return FieldView(type: type, name: name, value: value, encoded: start..<reader.position)
    }

    /// The next field of a table that was checked before; nil at the end.
    package mutating func nextValidated() -> FieldView? { (try? next()) ?? nil }

    /// Checks a table from beginning to end, with what is in it.
    static func validate(table bytes: UnsafeRawBufferPointer, depth: Int) throws(WireError) {
        try validate(FieldWalk(table: bytes), depth: depth)
    }

    static func validate(array bytes: UnsafeRawBufferPointer, depth: Int) throws(WireError) {
        try validate(FieldWalk(array: bytes), depth: depth)
    }

    private static func validate(_ walk: FieldWalk, depth: Int) throws(WireError) {
        guard depth > 0 else { throw .tableTooDeep }
        var walk = walk
        while let field = try walk.next() {
            switch field.type {
            case .table: try validate(table: walk.bytes(field.value), depth: depth - 1)
            case .array: try validate(array: walk.bytes(field.value), depth: depth - 1)
            case .boolean, .int8, .uint8, .int16, .uint16, .int32, .uint32, .int64, .longInt64, .float, .double,
                .decimal, .timestamp, .longString, .bytes, .void:
                break
            }
        }
    }
}

/// A table in somebody else's bytes that is looked into by name, without decoding the rest of it.
package struct FieldTableView {
    /// The content without its length.
    package let bytes: UnsafeRawBufferPointer

    /// - Parameter bytes: the content of a table that was checked, for example the headers of a `ContentHeader`.
    package init(validated bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// The first field with this name; nil when there is none.
    package func field(_ name: StaticString) -> FieldView? {
        name.withUTF8Buffer { name in first { $0.elementsEqual(name) } }
    }

    package func field(_ name: some Collection<UInt8>) -> FieldView? {
        first { $0.elementsEqual(name) }
    }

    private func first(where matches: (UnsafeRawBufferPointer) -> Bool) -> FieldView? {
        var walk = FieldWalk(table: bytes)
        while let field = walk.nextValidated() {
            if matches(walk.bytes(field.name)) { return field }
        }
        return nil
    }

    /// The bytes of a string's value or of binary data; nil for other types and where there is no such field.
    package func string(_ name: StaticString) -> UnsafeRawBufferPointer? {
        guard let field = field(name), field.type == .longString || field.type == .bytes else { return nil }
        return UnsafeRawBufferPointer(rebasing: bytes[field.value])
    }

    /// The decoded value of a field.
    package func value(_ name: StaticString) -> FieldValue? {
        field(name).flatMap { value(of: $0) }
    }

    package func value(of field: FieldView) -> FieldValue? {
        FieldValue(type: field.type, UnsafeRawBufferPointer(rebasing: bytes[field.value.clamped(to: 0..<bytes.count)]))
    }
}
