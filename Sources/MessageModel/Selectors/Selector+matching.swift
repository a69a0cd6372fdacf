extension Selector {
    /// Whether it holds for a message.
    /// - Parameters:
    ///   - record: of a batch that was verified.
    ///   - name: the message's full name; may be empty where `needsName` is false.
    ///   - batch: the batch that the record stands in, for its times; nil leaves them unknown.
    package func matches(record: RecordView, name: UnsafeRawBufferPointer, batch: BatchView?) -> Bool {
        withUnsafeTemporaryAllocation(of: SelectorEvaluation.Value.self, capacity: max(names.count, 1)) { values in
            nodes.withUnsafeBufferPointer { nodes in
                elements.withUnsafeBufferPointer { elements in
                    pool.withUnsafeBytes { pool in
                        var evaluation = SelectorEvaluation(
                            nodes: nodes,
                            elements: elements,
                            pool: pool,
                            values: UnsafeMutableBufferPointer(rebasing: values[..<names.count]),
                            properties: record.properties
                        )
                        names.withUnsafeBufferPointer {
                            evaluation.resolve($0, record: record, name: name, batch: batch)
                        }
                        return evaluation.isTrue()
                    }
                }
            }
        }
    }
}

/// One evaluation of a selector on one message: everything is lent, nothing is allocated.
struct SelectorEvaluation {
    enum Value {
        case missing
        /// Of a property or a field.
        case text(UnsafeRawBufferPointer)
        case number(UInt64)
        case boolean(Bool)
        /// Each of the message's keys, of which there is at least one.
        case keys
        case textLiteral(UnsafeRawBufferPointer)
        case numberLiteral(UnsafeRawBufferPointer)
    }

    /// The logic of three values: AND is the least, OR the greatest.
    enum Truth: UInt8, Comparable {
        case no
        case unknown
        case yes

        @inline(__always)
        init(_ value: Bool) { self = value ? .yes : .no }

        @inline(__always)
        static func < (left: Truth, right: Truth) -> Bool { left.rawValue < right.rawValue }

        @inline(__always)
        static prefix func ! (value: Truth) -> Truth {
            switch value {
            case .no: .yes
            case .unknown: .unknown
            case .yes: .no
            }
        }
    }

    enum Relation {
        case less
        case equal
        case greater
        /// Of different kinds: neither equal nor in an order.
        case different
        /// One of the two is missing.
        case unknown
    }

    let nodes: UnsafeBufferPointer<Selector.Node>
    let elements: UnsafeBufferPointer<Selector.Operand>
    let pool: UnsafeRawBufferPointer
    /// What each name stands for in this message.
    let values: UnsafeMutableBufferPointer<Value>
    let properties: UnsafeRawBufferPointer
    private var steps = Selector.stepsPerMessage

    init(
        nodes: UnsafeBufferPointer<Selector.Node>,
        elements: UnsafeBufferPointer<Selector.Operand>,
        pool: UnsafeRawBufferPointer,
        values: UnsafeMutableBufferPointer<Value>,
        properties: UnsafeRawBufferPointer
    ) {
        self.nodes = nodes
        self.elements = elements
        self.pool = pool
        self.values = values
        self.properties = properties
    }

    mutating func isTrue() -> Bool {
        guard !nodes.isEmpty else { return false }
        // Where the steps ran out, what came out is not the answer.
        return evaluate(UInt16(nodes.count - 1)) == .yes && steps >= 0
    }

    // MARK: Names

    /// Looks up all names in one walk over the properties.
    mutating func resolve(
        _ names: UnsafeBufferPointer<Selector.Name>,
        record: RecordView,
        name: UnsafeRawBufferPointer,
        batch: BatchView?
    ) {
        var wanted = 0
        for index in names.indices {
            let value = initialValue(names[index], record: record, name: name, batch: batch)
            values.initializeElement(at: index, to: value)
            if case .missing = value { wanted += 1 }
        }
        var cursor = PropertyCursor(properties)
        while wanted > 0, let (id, value) = cursor.next() {
            steps -= names.count
            guard steps >= 0 else { return }
            guard let property = PropertyID(rawValue: id) else { continue }
            let user = property == .user ? PropertyCursor.splitUser(value) : nil
            for index in names.indices {
                guard case .missing = values[index] else { continue }
                switch names[index] {
                case .property(let slice):
                    guard let user, user.name.count == Int(slice.count),
                        bytesEqual(user.name, pool.slice(slice.range))
                    else { continue }
                    values[index] = .text(user.value)
                case .field(let field):
                    guard field.property == property else { continue }
                    values[index] = Self.value(of: field, value)
                }
                wanted -= 1
            }
        }
        for index in names.indices {
            // RocketMQ and AMQP have no priority as the lowest.
            if case .field(.priority) = names[index], case .missing = values[index] { values[index] = .number(0) }
        }
    }

    /// What is known without looking at the properties.
    private func initialValue(
        _ wanted: Selector.Name,
        record: RecordView,
        name: UnsafeRawBufferPointer,
        batch: BatchView?
    ) -> Value {
        guard case .field(let field) = wanted else { return .missing }
        switch field {
        case .name: return .text(name)
        case .routingKey: return record.hasAbsoluteName ? .missing : record.routingKey.map { .text($0) } ?? .missing
        case .orderingKey: return record.orderingKey.map { .text($0) } ?? .missing
        case .size: return .number(UInt64(record.body.count))
        case .time: return batch.map { .number($0.appendTime.rawValue / 1_000) } ?? .missing
        case .born:
            return batch.map {
                .number($0.baseTimestamp.advanced(byMicroseconds: record.timestampDelta).rawValue / 1_000)
            }
                ?? .missing
        case .retained: return .boolean(record.isRetained)
        case .tags, .keys, .messageID, .correlationID, .replyTo, .contentType, .origin, .priority, .expiresAt,
            .deliverAt:
            return .missing
        }
    }

    /// A field's value as its property holds it; that of a malformed one is missing.
    private static func value(of field: SelectorField, _ bytes: UnsafeRawBufferPointer) -> Value {
        switch field {
        case .keys: .keys
        case .priority: bytes.count == 1 ? .number(UInt64(bytes[0])) : .missing
        case .expiresAt, .deliverAt: bytes.count == 8 ? .number(bytes.load64(0) / 1_000) : .missing
        case .origin:
            bytes.count == 1
                ? OriginFront(rawValue: bytes[0]).map { .text(UnsafeRawBufferPointer($0.name.bytes)) } ?? .missing
                : .missing
        case .tags, .name, .routingKey, .orderingKey, .messageID, .correlationID, .replyTo, .contentType, .size, .time,
            .born, .retained:
            .text(bytes)
        }
    }

    @inline(__always)
    private func value(_ operand: Selector.Operand) -> Value {
        switch operand {
        case .name(let index): values[Int(index)]
        case .text(let slice): .textLiteral(pool.slice(slice.range))
        case .number(let slice): .numberLiteral(pool.slice(slice.range))
        case .boolean(let value): .boolean(value)
        }
    }

    // MARK: Conditions

    private mutating func evaluate(_ index: UInt16) -> Truth {
        switch nodes[Int(index)] {
        case .constant(let value): return Truth(value)
        case .not(let inner): return !evaluate(inner)
        case .and(let left, let right):
            // The chain of ANDs is walked, not climbed down: its length is not bounded by the depth.
            var result = evaluate(left)
            var rest = right
            while result != .no, case .and(let left, let right) = nodes[Int(rest)] {
                result = min(result, evaluate(left))
                rest = right
            }
            return result == .no ? .no : min(result, evaluate(rest))
        case .or(let left, let right):
            var result = evaluate(left)
            var rest = right
            while result != .yes, case .or(let left, let right) = nodes[Int(rest)] {
                result = max(result, evaluate(left))
                rest = right
            }
            return result == .yes ? .yes : max(result, evaluate(rest))
        case .compare(let comparison, let left, let right):
            return compare(comparison, value(left), value(right))
        case .between(let operand, let low, let high):
            let low = value(low)
            let high = value(high)
            return any(value(operand)) { evaluation, value in
                min(
                    evaluation.compare(.greaterOrEqual, value, low),
                    evaluation.compare(.lessOrEqual, value, high)
                )
            }
        case .isIn(let name, let first, let count):
            return any(values[Int(name)]) { evaluation, value in
                if case .missing = value { return .unknown }
                for element in Int(first)..<Int(first) + Int(count)
                where evaluation.relation(value, evaluation.value(evaluation.elements[element])) == .equal {
                    return .yes
                }
                return .no
            }
        case .like(let name, let slice):
            let pattern = pool.slice(slice.range)
            return any(values[Int(name)]) { evaluation, value in
                guard case .text(let text) = value else { return .unknown }
                return LikePattern.matches(pattern, text, steps: &evaluation.steps).map { Truth($0) } ?? .unknown
            }
        case .isNull(let name):
            if case .missing = values[Int(name)] { return .yes }
            return .no
        }
    }

    /// Whether `test` holds for the value, or for one of the keys.
    private mutating func any(_ value: Value, _ test: (inout SelectorEvaluation, Value) -> Truth) -> Truth {
        guard case .keys = value else { return test(&self, value) }
        var result = Truth.no
        var cursor = PropertyCursor(properties)
        while result != .yes, steps >= 0, let (id, key) = cursor.next() {
            steps -= 1
            if id == PropertyID.key.rawValue { result = max(result, test(&self, .text(key))) }
        }
        return result
    }

    private mutating func compare(_ comparison: Selector.Comparison, _ left: Value, _ right: Value) -> Truth {
        if comparison == .notEqual { return !compare(.equal, left, right) }
        return any(left) { evaluation, left in
            evaluation.any(right) { evaluation, right in
                switch evaluation.relation(left, right) {
                case .unknown: .unknown
                case .different: .no
                case .equal: Truth(comparison == .equal || comparison == .lessOrEqual || comparison == .greaterOrEqual)
                case .less: Truth(comparison == .less || comparison == .lessOrEqual)
                case .greater: Truth(comparison == .greater || comparison == .greaterOrEqual)
                }
            }
        }
    }

    // MARK: Values

    private mutating func relation(_ left: Value, _ right: Value) -> Relation {
        switch (left, right) {
        case (.missing, _), (_, .missing): return .unknown
        case (.boolean(let left), .boolean(let right)): return left == right ? .equal : .different
        case (.boolean(let truth), .text(let text)), (.text(let text), .boolean(let truth)):
            return Self.isWord(text, truth ? "true" : "false") ? .equal : .different
        case (.number(let left), .number(let right)): return Self.relation(left < right ? -1 : left > right ? 1 : 0)
        case (.number(let left), .numberLiteral(let right)), (.number(let left), .text(let right)):
            guard let right = DecimalText(right) else { return .different }
            return DecimalText.withText(of: left) { $0.map { Self.relation($0.compare(to: right)) } ?? .different }
        case (.numberLiteral(let left), .number(let right)), (.text(let left), .number(let right)):
            guard let left = DecimalText(left) else { return .different }
            return DecimalText.withText(of: right) { $0.map { Self.relation(left.compare(to: $0)) } ?? .different }
        case (.numberLiteral(let left), .numberLiteral(let right)), (.numberLiteral(let left), .text(let right)),
            (.text(let left), .numberLiteral(let right)):
            return Self.numberRelation(left, right) ?? .different
        case (.text(let left), .text(let right)):
            return Self.numberRelation(left, right) ?? byteRelation(left, right)
        case (.text(let left), .textLiteral(let right)), (.textLiteral(let left), .text(let right)),
            (.textLiteral(let left), .textLiteral(let right)):
            return byteRelation(left, right)
        case (.boolean, _), (_, .boolean), (.number, _), (_, .number), (.numberLiteral, _), (_, .numberLiteral),
            (.keys, _), (_, .keys):
            return .different
        }
    }

    private static func relation(_ order: Int) -> Relation { order < 0 ? .less : order > 0 ? .greater : .equal }

    /// Nil where one of the two is no number.
    private static func numberRelation(
        _ left: UnsafeRawBufferPointer,
        _ right: UnsafeRawBufferPointer
    ) -> Relation? {
        guard let left = DecimalText(left), let right = DecimalText(right) else { return nil }
        return relation(left.compare(to: right))
    }

    private mutating func byteRelation(
        _ left: UnsafeRawBufferPointer,
        _ right: UnsafeRawBufferPointer
    ) -> Relation {
        let common = min(left.count, right.count)
        // Comparing bytes is quicker than the other steps.
        steps -= common / 8
        guard steps >= 0 else { return .unknown }
        for index in 0..<common where left[index] != right[index] {
            return left[index] < right[index] ? .less : .greater
        }
        return Self.relation(left.count - right.count)
    }

    private static func isWord(_ text: UnsafeRawBufferPointer, _ word: StaticString) -> Bool {
        text.count == word.utf8CodeUnitCount && zip(text, word.bytes).allSatisfy { $0 | 0x20 == $1 }
    }
}
