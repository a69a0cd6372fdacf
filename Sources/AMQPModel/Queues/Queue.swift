package import AMQPProtocol

/// A queue as it was declared.
package struct Queue: Sendable {
    package enum Kind: UInt8, Sendable, Hashable {
        case classic = 1
        case quorum = 2
        case stream = 3

        package var name: String {
            switch self {
            case .classic: "classic"
            case .quorum: "quorum"
            case .stream: "stream"
            }
        }
    }

    package let name: ShortString
    package let number: QueueNumber
    package let kind: Kind
    package let isDurable: Bool
    package let isAutoDelete: Bool
    /// The connection that it belongs to and ends with; nil where all may use it.
    package let owner: UInt64?
    package let arguments: FieldTable
    private let own: SharedSettings
    private var merged: SharedSettings
    /// The inbox of the queue; of a stream, the topic.
    package let storageName: String
    /// Under which its definition is stored; zero where it is not.
    let storedNumber: UInt64

    package internal(set) var consumers = 0
    package internal(set) var hasExclusiveConsumer = false

    /// The bindings that it has, besides the one to the default exchange.
    var incoming: Set<IncomingBinding> = []
    /// What these are in storage: how many of them lead to each binding of the inbox.
    var installed: [InboxBinding: Int] = [:]

    init(
        name: ShortString,
        number: QueueNumber,
        kind: Kind,
        isDurable: Bool,
        isAutoDelete: Bool,
        owner: UInt64?,
        arguments: FieldTable,
        ownSettings: QueueSettings,
        storageName: String,
        storedNumber: UInt64
    ) {
        self.name = name
        self.number = number
        self.kind = kind
        self.isDurable = isDurable
        self.isAutoDelete = isAutoDelete
        self.owner = owner
        self.arguments = arguments
        own = SharedSettings.of(ownSettings)
        merged = own
        self.storageName = storageName
        self.storedNumber = storedNumber
    }

    /// What its arguments say.
    package var ownSettings: QueueSettings { own.value }

    /// What arguments and policies say together.
    package internal(set) var settings: QueueSettings {
        get { merged.value }
        set { merged = newValue == own.value ? own : SharedSettings.of(newValue) }
    }

    package var isExclusive: Bool { owner != nil }
    package var isStream: Bool { kind == .stream }
    package var bindingCount: Int { incoming.count }
}

/// Settings that are shared: most queues have none of their own, and there may be a hundred thousand of them.
private final class SharedSettings: Sendable {
    let value: QueueSettings

    private init(_ value: QueueSettings) { self.value = value }

    private static let plain = SharedSettings(QueueSettings())

    static func of(_ settings: QueueSettings) -> SharedSettings {
        settings == plain.value ? plain : SharedSettings(settings)
    }
}
