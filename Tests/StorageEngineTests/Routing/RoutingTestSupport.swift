import MessageModel
import StorageService
import Testing

@testable import StorageEngine

func withBytes<Result>(_ text: String, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    try Array(text.utf8).withUnsafeBytes(body)
}

func mqtt(_ filter: String) throws -> NamePattern { try withBytes(filter) { try NamePattern(filter: $0) } }

func binding(_ kind: Binding.Kind, _ topic: String, _ key: String) throws -> NamePattern {
    try BindingPattern(Binding(kind: kind, topic: topic, pattern: Array(key.utf8))).names
}

/// A table behind a reference, as expectations cannot call what changes a value.
final class TableUnderTest {
    var table = RoutingTable()

    var count: Int { table.count }
    var isEmpty: Bool { table.isEmpty }
    var byteCount: Int { table.byteCount }

    @discardableResult
    func insert(_ pattern: NamePattern, group: UInt64? = nil, _ target: RoutingTarget) -> Bool {
        table.insert(pattern, group: group, target)
    }

    @discardableResult
    func remove(_ pattern: NamePattern, group: UInt64? = nil, _ target: RoutingTarget) -> Bool {
        table.remove(pattern, group: group, target)
    }

    func found(_ name: String, isAvailable: (UInt64) -> Bool = { _ in true }) -> [RoutingTarget] {
        var found = [RoutingTarget(owner: 99, id: 99)]
        withBytes(name) { table.match($0, into: &found, isAvailable: isAvailable) }
        return found
    }

    func foundIDs(_ name: String) -> [UInt32] { found(name).map(\.id) }
}

/// Compares level by level with every pattern, as the specifications say it and nothing is optimised.
enum NaiveMatcher {
    enum Level: Equatable { case literal(String), one, any }

    static func matches(_ pattern: [Level], _ name: String) -> Bool {
        if name.hasPrefix("$"), pattern.first == .one || pattern.first == .any { return false }
        return matches(pattern[...], name.split(separator: "/", omittingEmptySubsequences: false)[...])
    }

    private static func matches(_ pattern: ArraySlice<Level>, _ name: ArraySlice<Substring>) -> Bool {
        switch pattern.first {
        case nil: name.isEmpty
        case .literal(let text): name.first.map { $0 == text } == true && matches(pattern.dropFirst(), name.dropFirst())
        case .one: !name.isEmpty && matches(pattern.dropFirst(), name.dropFirst())
        case .any:
            matches(pattern.dropFirst(), name) || (!name.isEmpty && matches(pattern, name.dropFirst()))
        }
    }

    static func pattern(_ levels: [Level]) -> NamePattern {
        var pattern = NamePattern()
        for level in levels {
            switch level {
            case .literal(let text): withBytes(text) { pattern.append(.literal($0)) }
            case .one: pattern.append(.one)
            case .any: pattern.append(.any)
            }
        }
        return pattern
    }
}
