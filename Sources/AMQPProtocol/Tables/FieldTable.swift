/// A field table as it was sent: its bytes, looked into by name. Two are equal when their bytes are.
package struct FieldTable: Sendable, Hashable {
    /// The encoded fields, without the length that stands before them.
    package private(set) var bytes: [UInt8]

    package init() { bytes = [] }

    /// - Parameter bytes: fields that were checked.
    init(validated bytes: [UInt8]) { self.bytes = bytes }

    /// Takes over encoded fields; nil when they are malformed or nested more than `depth` levels.
    package init?(encoded bytes: [UInt8], depth: Int = AMQPLimits().maximumTableDepth) {
        let isValid = bytes.withUnsafeBytes { raw in
            do throws(WireError) {
                try FieldWalk.validate(table: raw, depth: depth)
                return true
            } catch {
                return false
            }
        }
        guard isValid else { return nil }
        self.bytes = bytes
    }

    package var isEmpty: Bool { bytes.isEmpty }

    /// The first field with this name.
    package subscript(name: StaticString) -> FieldValue? {
        bytes.withUnsafeBytes { FieldTableView(validated: $0).value(name) }
    }

    package subscript(name: [UInt8]) -> FieldValue? {
        bytes.withUnsafeBytes { raw in
            let view = FieldTableView(validated: raw)
            return view.field(name).flatMap { view.value(of: $0) }
        }
    }

    /// Adds a field behind the others.
    package mutating func append(_ name: some Collection<UInt8>, _ value: FieldValue) {
        bytes.appendShort(name)
        value.encode(into: &bytes)
    }

    package mutating func append(_ name: String, _ value: FieldValue) { append(name.utf8, value) }

    /// Removes all fields with this name; the others keep their bytes.
    package mutating func remove(_ name: StaticString) {
        var kept: [UInt8] = []
        var hasRemoved = false
        bytes.withUnsafeBytes { raw in
            var walk = FieldWalk(table: raw)
            kept.reserveCapacity(raw.count)
            while let field = walk.nextValidated() {
                let isMeant = name.withUTF8Buffer { walk.bytes(field.name).elementsEqual($0) }
                if isMeant {
                    hasRemoved = true
                } else {
                    kept.append(contentsOf: walk.bytes(field.name.lowerBound - 1..<field.encoded.upperBound))
                }
            }
        }
        if hasRemoved { bytes = kept }
    }

    /// Puts a field in the place of all with its name, behind the others.
    package mutating func replace(_ name: StaticString, _ value: FieldValue) {
        remove(name)
        name.withUTF8Buffer { append($0, value) }
    }

    /// All fields, decoded, in their order.
    package var fields: [(name: ShortString, value: FieldValue)] {
        bytes.withUnsafeBytes { raw in
            var walk = FieldWalk(table: raw)
            var fields: [(name: ShortString, value: FieldValue)] = []
            while let field = walk.nextValidated() {
                guard let value = FieldValue(type: field.type, walk.bytes(field.value)) else { continue }
                fields.append((ShortString(walk.bytes(field.name)), value))
            }
            return fields
        }
    }
}

extension FieldTable: ExpressibleByDictionaryLiteral {
    package init(dictionaryLiteral elements: (String, FieldValue)...) {
        self.init()
        for (name, value) in elements { append(name, value) }
    }
}

/// An array of table fields as it was sent.
package struct FieldArray: Sendable, Hashable {
    /// The encoded values, without the length that stands before them.
    package private(set) var bytes: [UInt8]

    package init(_ values: [FieldValue] = []) {
        bytes = []
        for value in values { value.encode(into: &bytes) }
    }

    init(validated bytes: [UInt8]) { self.bytes = bytes }

    /// All values, decoded, in their order.
    package var values: [FieldValue] {
        bytes.withUnsafeBytes { raw in
            var walk = FieldWalk(array: raw)
            var values: [FieldValue] = []
            while let field = walk.nextValidated() {
                if let value = FieldValue(type: field.type, walk.bytes(field.value)) { values.append(value) }
            }
            return values
        }
    }
}
