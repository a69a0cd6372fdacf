internal import AMQPProtocol

/// The bindings of one exchange in the form in which messages are routed. Made when a message needs it, and let go of
/// when a binding changes.
struct RoutingIndex: Sendable {
    private enum Form {
        case byKey([ShortString: [BindingDestination]])
        case byPattern([(pattern: [UInt8], destination: BindingDestination)])
        case all([BindingDestination])
        case byHeaders([(pattern: HeadersPattern, destination: BindingDestination)])
        case byHash(HashSource, [WeightedChoice.Candidate])
        case byModulus([BindingDestination])
        case anyOne([BindingDestination])
    }

    private let form: Form

    init(_ exchange: Exchange) {
        let bindings = exchange.outgoing.keys.sorted(by: OutgoingBinding.isOrdered)
        func destinations() -> [BindingDestination] {
            var seen: Set<BindingDestination> = []
            return bindings.map(\.destination).filter { seen.insert($0).inserted }
        }
        switch exchange.kind {
        case .direct:
            form = .byKey(Dictionary(grouping: bindings, by: \.routingKey).mapValues { $0.map(\.destination) })
        case .topic: form = .byPattern(bindings.map { ($0.routingKey.bytes, $0.destination) })
        case .fanout: form = .all(destinations())
        case .headers: form = .byHeaders(bindings.map { (HeadersPattern($0.arguments), $0.destination) })
        case .consistentHash:
            form = .byHash(
                HashSource(exchange.arguments),
                bindings.map { binding in
                    WeightedChoice.Candidate(binding.destination, weight: UInt64(binding.routingKey.description) ?? 1)
                }
            )
        case .modulusHash: form = .byModulus(destinations())
        case .random: form = .anyOne(destinations())
        }
    }

    /// Adds where the bindings lead; some may come twice.
    func match(_ keys: [ShortString], _ message: RoutedMessage, into found: inout [BindingDestination]) {
        switch form {
        case .byKey(let byKey):
            for key in keys { found += byKey[key] ?? [] }
        case .byPattern(let patterns):
            for (pattern, destination) in patterns
            where keys.contains(where: { TopicPattern.matches(pattern, key: $0.bytes) }) {
                found.append(destination)
            }
        case .all(let destinations): found += destinations
        case .byHeaders(let patterns):
            let headers = message.properties.headers
            for (pattern, destination) in patterns where pattern.matches(headers) { found.append(destination) }
        case .byHash(let source, let candidates):
            if let chosen = WeightedChoice.choose(source.hash(keys.first, message), candidates) { found.append(chosen) }
        case .byModulus(let destinations):
            guard !destinations.isEmpty else { return }
            let hash = HashSource.routingKey.hash(keys.first, message)
            found.append(destinations[Int(hash % UInt64(destinations.count))])
        case .anyOne(let destinations):
            guard !destinations.isEmpty else { return }
            found.append(destinations[Int(message.random % UInt64(destinations.count))])
        }
    }
}

/// Binding keys of topic exchanges.
enum TopicPattern {
    /// Words are separated by `.`; `*` stands for one, `#` for any number of them. The empty key has no word.
    ///
    /// Takes time with the product of the lengths at worst: only the last `#` is ever taken back.
    static func matches(_ pattern: [UInt8], key: [UInt8]) -> Bool {
        var patternWords = Words(pattern)
        var keyWords = Words(key)
        var retry: (pattern: Words, key: Words)?
        while true {
            var next = patternWords
            let word = next.next()
            if let word, word.isHash(pattern) {
                // For no word at first, and for one more whenever it turns out to be too few.
                patternWords = next
                retry = (next, keyWords)
                continue
            }
            var nextKey = keyWords
            let keyWord = nextKey.next()
            switch (word, keyWord) {
            case (nil, nil): return true
            case (.some(let word), .some(let keyWord)) where word.isStar(pattern) || word.equals(pattern, keyWord, key):
                patternWords = next
                keyWords = nextKey
            default:
                guard var last = retry, last.key.next() != nil else { return false }
                patternWords = last.pattern
                keyWords = last.key
                retry = last
            }
        }
    }

    private struct Word {
        var range: Range<Int>

        func isHash(_ bytes: [UInt8]) -> Bool { range.count == 1 && bytes[range.lowerBound] == UInt8(ascii: "#") }
        func isStar(_ bytes: [UInt8]) -> Bool { range.count == 1 && bytes[range.lowerBound] == UInt8(ascii: "*") }
        func equals(_ bytes: [UInt8], _ other: Word, _ others: [UInt8]) -> Bool {
            bytes[range].elementsEqual(others[other.range])
        }
    }

    private struct Words {
        let bytes: [UInt8]
        /// Where the next word begins; nil behind the last.
        var position: Int?

        init(_ bytes: [UInt8]) {
            self.bytes = bytes
            position = bytes.isEmpty ? nil : 0
        }

        mutating func next() -> Word? {
            guard let start = position else { return nil }
            if let end = bytes[start...].firstIndex(of: UInt8(ascii: ".")) {
                position = end + 1
                return Word(range: start..<end)
            }
            position = nil
            return Word(range: start..<bytes.count)
        }
    }
}

/// What a headers binding asks for.
struct HeadersPattern: Sendable {
    private let isAny: Bool
    private let wanted: [(name: [UInt8], value: [UInt8]?)]

    /// Of arguments that were checked.
    init(_ arguments: FieldTable) {
        let mode = arguments["x-match"]?.stringBytes.flatMap { HeadersMode($0) } ?? .all
        isAny = mode == .any || mode == .anyWithX
        let withX = mode == .allWithX || mode == .anyWithX
        wanted = arguments.fields.compactMap { field in
            guard !field.name.equals("x-match"), withX || !field.name.hasPrefix("x-") else { return nil }
            return (field.name.bytes, HeaderText.argument(field.value))
        }
    }

    func matches(_ headers: FieldTableView?) -> Bool {
        if isAny { return wanted.contains { holds($0, headers) } }
        return wanted.allSatisfy { holds($0, headers) }
    }

    private func holds(_ wanted: (name: [UInt8], value: [UInt8]?), _ headers: FieldTableView?) -> Bool {
        guard let headers, let field = headers.field(wanted.name), let value = headers.value(of: field),
            HeaderText.hasText(value)
        else { return false }
        guard let expected = wanted.value else { return true }
        var text: [UInt8] = []
        HeaderText.append(value, to: &text)
        return text == expected
    }
}
