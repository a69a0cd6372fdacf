internal import AMQPProtocol

extension FieldType {
    /// What RabbitMQ calls it in its reply texts.
    var erlangName: String {
        switch self {
        case .boolean: "bool"
        case .int8: "byte"
        case .uint8: "unsignedbyte"
        case .int16: "short"
        case .uint16: "unsignedshort"
        case .int32: "signedint"
        case .uint32: "unsignedint"
        case .int64, .longInt64: "long"
        case .float: "float"
        case .double: "double"
        case .decimal: "decimal"
        case .timestamp: "timestamp"
        case .longString: "longstr"
        case .bytes: "binary"
        case .array: "array"
        case .table: "table"
        case .void: "void"
        }
    }
}

extension FieldValue {
    /// What RabbitMQ shows of a value in its reply texts, without its type.
    var shown: String {
        switch self {
        case .boolean(let value): String(value)
        case .float(let value): String(value)
        case .double(let value): String(value)
        case .timestamp(let value): String(value)
        case .decimal(let scale, let unscaled): "{\(scale),\(unscaled)}"
        case .longString(let bytes), .bytes(let bytes): String(decoding: bytes, as: UTF8.self)
        case .array(let array): "[" + array.values.map(\.shown).joined(separator: ",") + "]"
        case .table(let table):
            "[" + table.fields.map { "{\($0.name),\($0.value.shown)}" }.joined(separator: ",") + "]"
        case .void: "undefined"
        case .int8, .uint8, .int16, .uint16, .int32, .uint32, .int64, .longInt64: String(integer ?? 0)
        }
    }

    /// Whether two arguments say the same: integers of any width are compared by their values.
    static func areEquivalent(_ left: FieldValue?, _ right: FieldValue?) -> Bool {
        guard let left, let right else { return left == nil && right == nil }
        if let left = left.integer, let right = right.integer { return left == right }
        return left == right
    }
}

extension AMQPError {
    /// An argument is not what it was when the queue or exchange was declared first.
    static func inequivalent(
        _ argument: String,
        _ resource: String,
        _ received: FieldValue?,
        _ current: FieldValue?
    ) -> AMQPError {
        func text(_ value: FieldValue?, other: FieldValue?) -> String {
            guard let value else { return "none" }
            // Where both are there, only the values are shown; else the type too.
            if other != nil { return "'\(value.shown)'" }
            return "the value '\(value.shown)' of type '\(value.type.erlangName)'"
        }
        return AMQPError(
            .preconditionFailed,
            "inequivalent arg '\(argument)' for \(resource): received \(text(received, other: current)) but current is "
                + text(current, other: received)
        )
    }

    static func inequivalent(_ argument: String, _ resource: String, received: Bool, current: Bool) -> AMQPError {
        inequivalent(argument, resource, .boolean(received), .boolean(current))
    }
}

extension FieldTable {
    /// The same fields in the order of their names: in bindings the order says nothing.
    var sorted: FieldTable {
        let fields = fields
        guard fields.count > 1 else { return self }
        var result = FieldTable()
        // Names may come twice; those keep their order.
        let order = fields.indices.sorted { left, right in
            let names = (fields[left].name.bytes, fields[right].name.bytes)
            return names.0 == names.1 ? left < right : names.0.lexicographicallyPrecedes(names.1)
        }
        for index in order { result.append(fields[index].name.bytes, fields[index].value) }
        return result
    }
}
