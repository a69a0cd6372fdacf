internal import AMQPProtocol
package import StorageService

/// How an exchange routes.
package enum ExchangeKind: UInt8, Sendable, Hashable, CaseIterable {
    case direct = 1
    case topic = 2
    case fanout = 3
    case headers = 4
    /// One of its queues for each key, property or header, by the weights that the binding keys are.
    case consistentHash = 5
    /// One of its queues for each key, all with the same weight.
    case modulusHash = 6
    /// Any one of its queues.
    case random = 7

    /// The kind of a type's name; nil where there is no such type. `x-delayed-message` says its kind in an argument.
    init?(type: ShortString) {
        switch type.description {
        case "direct": self = .direct
        case "topic": self = .topic
        case "fanout": self = .fanout
        case "headers": self = .headers
        case "x-consistent-hash": self = .consistentHash
        case "x-modulus-hash": self = .modulusHash
        case "x-random", "x-local-random": self = .random
        default: return nil
        }
    }

    static let delayedType: ShortString = "x-delayed-message"
    static let delayedKindArgument: StaticString = "x-delayed-type"

    /// What storage calls it; nil where storage cannot route so.
    package var storageKind: Binding.Kind? {
        switch self {
        case .direct: .direct
        case .topic: .topic
        case .fanout: .fanout
        case .headers: .headers
        case .consistentHash, .modulusHash, .random: nil
        }
    }
}
