internal import MessageModel
internal import StorageService

/// A topic as the log and the snapshot keep it.
struct TopicDefinition: Equatable {
    var id: TopicID
    var tenant: TenantID
    var createdAt: Timestamp
    var specification: TopicSpecification

    func encode(to writer: inout ByteWriter) {
        writer.write32(id.rawValue)
        writer.write32(tenant.rawValue)
        writer.write64(createdAt.rawValue)
        writer.write(specification.name)
        writer.write16(UInt16(specification.partitions))
        writer.write16(UInt16(specification.captures.count))
        for capture in specification.captures { writer.write(capture) }
        specification.policy.encode(to: &writer)
    }

    init(id: TopicID, tenant: TenantID, createdAt: Timestamp, specification: TopicSpecification) {
        self.id = id
        self.tenant = tenant
        self.createdAt = createdAt
        self.specification = specification
    }

    init?(from reader: inout ByteReader) {
        guard let id = reader.read32(), let tenant = reader.read32(), let createdAt = reader.read64(),
            let name = reader.readString(), let partitions = reader.read16(), let captureCount = reader.read16(),
            partitions > 0, Int(partitions) <= Limits.partitionsPerTopic
        else { return nil }
        var captures: [String] = []
        for _ in 0..<captureCount {
            guard let capture = reader.readString() else { return nil }
            captures.append(capture)
        }
        guard let policy = TopicPolicy(from: &reader) else { return nil }
        self.init(
            id: TopicID(rawValue: id),
            tenant: TenantID(rawValue: tenant),
            createdAt: Timestamp(rawValue: createdAt),
            specification: TopicSpecification(
                name: name,
                partitions: Int(partitions),
                captures: captures,
                policy: policy
            )
        )
    }
}

/// A subscription as the log keeps its creation.
struct SubscriptionDefinition: Equatable {
    enum Source: Equatable {
        /// The places in the topic's partitions where it begins.
        case cursor(TopicID, [UInt64])
        case inbox([Binding])
    }

    var id: SubscriptionID
    var tenant: TenantID
    var createdAt: Timestamp
    var name: String
    var source: Source
    var policy: SubscriptionPolicy
    var isPaused = false

    func encode(to writer: inout ByteWriter) {
        writer.write32(id.rawValue)
        writer.write32(tenant.rawValue)
        writer.write64(createdAt.rawValue)
        writer.write(name)
        writer.write(isPaused)
        switch source {
        case .cursor(let topic, let offsets):
            writer.write8(0)
            writer.write32(topic.rawValue)
            writer.write16(UInt16(offsets.count))
            for offset in offsets { writer.write64(offset) }
        case .inbox(let bindings):
            writer.write8(1)
            writer.write32(UInt32(bindings.count))
            for binding in bindings { binding.encode(to: &writer) }
        }
        policy.encode(to: &writer)
    }

    init(
        id: SubscriptionID,
        tenant: TenantID,
        createdAt: Timestamp,
        name: String,
        source: Source,
        policy: SubscriptionPolicy,
        isPaused: Bool = false
    ) {
        self.id = id
        self.tenant = tenant
        self.createdAt = createdAt
        self.name = name
        self.source = source
        self.policy = policy
        self.isPaused = isPaused
    }

    init?(from reader: inout ByteReader) {
        guard let id = reader.read32(), let tenant = reader.read32(), let createdAt = reader.read64(),
            let name = reader.readString(), let isPaused = reader.readBool(), let kind = reader.read8()
        else { return nil }
        let source: Source
        switch kind {
        case 0:
            guard let topic = reader.read32(), let count = reader.read16() else { return nil }
            var offsets: [UInt64] = []
            for _ in 0..<count {
                guard let offset = reader.read64() else { return nil }
                offsets.append(offset)
            }
            source = .cursor(TopicID(rawValue: topic), offsets)
        case 1:
            guard let count = reader.read32() else { return nil }
            var bindings: [Binding] = []
            for _ in 0..<count {
                guard let binding = Binding(from: &reader) else { return nil }
                bindings.append(binding)
            }
            source = .inbox(bindings)
        default:
            return nil
        }
        guard let policy = SubscriptionPolicy(from: &reader) else { return nil }
        self.init(
            id: SubscriptionID(rawValue: id),
            tenant: TenantID(rawValue: tenant),
            createdAt: Timestamp(rawValue: createdAt),
            name: name,
            source: source,
            policy: policy,
            isPaused: isPaused
        )
    }
}

/// What changed of a subscription: its number u32, then a code and what belongs to it.
enum SubscriptionChange: Equatable {
    case policy(SubscriptionPolicy)
    case paused(Bool)
    case bound(Binding)
    case unbound(Binding)
    /// Letters are sent back by its progress, or no more.
    case redrive(RedriveRun?)
    /// It goes on at these places, one for each of its lanes that is meant.
    case seek([(lane: UInt16, sequence: UInt64)])

    static func == (left: SubscriptionChange, right: SubscriptionChange) -> Bool {
        var first = ByteWriter()
        var second = ByteWriter()
        left.encode(to: &first)
        right.encode(to: &second)
        return first.bytes == second.bytes
    }

    func encode(to writer: inout ByteWriter) {
        switch self {
        case .policy(let policy):
            writer.write8(1)
            policy.encode(to: &writer)
        case .paused(let isPaused):
            writer.write8(2)
            writer.write(isPaused)
        case .bound(let binding):
            writer.write8(3)
            binding.encode(to: &writer)
        case .unbound(let binding):
            writer.write8(4)
            binding.encode(to: &writer)
        case .redrive(let run):
            writer.write8(6)
            writer.write(run != nil)
            run?.encode(to: &writer)
        case .seek(let places):
            writer.write8(5)
            writer.write16(UInt16(places.count))
            for place in places {
                writer.write16(place.lane)
                writer.write64(place.sequence)
            }
        }
    }

    init?(from reader: inout ByteReader) {
        switch reader.read8() {
        case 1:
            guard let policy = SubscriptionPolicy(from: &reader) else { return nil }
            self = .policy(policy)
        case 2:
            guard let isPaused = reader.readBool() else { return nil }
            self = .paused(isPaused)
        case 3:
            guard let binding = Binding(from: &reader) else { return nil }
            self = .bound(binding)
        case 4:
            guard let binding = Binding(from: &reader) else { return nil }
            self = .unbound(binding)
        case 5:
            guard let count = reader.read16() else { return nil }
            var places: [(lane: UInt16, sequence: UInt64)] = []
            for _ in 0..<count {
                guard let lane = reader.read16(), let sequence = reader.read64() else { return nil }
                places.append((lane, sequence))
            }
            self = .seek(places)
        case 6:
            guard let isRunning = reader.readBool() else { return nil }
            guard isRunning else {
                self = .redrive(nil)
                return
            }
            guard let run = RedriveRun(from: &reader) else { return nil }
            self = .redrive(run)
        default:
            return nil
        }
    }
}
