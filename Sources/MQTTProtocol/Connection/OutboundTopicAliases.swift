/// The topic aliases that the server has set on a connection (MQTT 5.0 §3.3.2.3.4): the first topics that are sent get
/// them, and keep them.
struct OutboundTopicAliases: Sendable {
    /// The server sets no more than these, whatever the client allows: each keeps one topic name.
    static let most: UInt16 = 64

    /// What the client allows; zero for none.
    private(set) var maximum: UInt16 = 0
    private var topics: [[UInt8]] = []
    /// Places in `topics` by the hashes of their names.
    private var places: [Int: Int] = [:]

    init(allowed: UInt16 = 0) { maximum = min(allowed, Self.most) }

    /// The alias that stands for a topic; nil where it has none.
    func alias(of topic: UnsafeRawBufferPointer) -> UInt16? {
        guard let place = places[Self.hash(topic)], topics[place].elementsEqual(topic) else { return nil }
        return UInt16(truncatingIfNeeded: place) + 1
    }

    /// The alias that the next new topic gets; nil where there is none left.
    var next: UInt16? { topics.count < Int(maximum) ? UInt16(truncatingIfNeeded: topics.count) + 1 : nil }

    /// The next alias was sent with this topic.
    mutating func set(_ topic: UnsafeRawBufferPointer) {
        let hash = Self.hash(topic)
        guard topics.count < Int(maximum), places[hash] == nil else { return }
        places[hash] = topics.count
        topics.append(Array(topic))
    }

    func isTaken(_ topic: UnsafeRawBufferPointer) -> Bool { places[Self.hash(topic)] != nil }

    private static func hash(_ topic: UnsafeRawBufferPointer) -> Int {
        var hasher = Hasher()
        hasher.combine(bytes: topic)
        return hasher.finalize()
    }
}
