/// The topic aliases that a client has set on this connection (MQTT 5.0 §3.3.2.3.4).
struct InboundTopicAliases: Sendable {
    /// Zero until CONNACK has offered some.
    var maximum: UInt16 = 0
    /// Topic names by alias, the first for alias 1; empty where none is set.
    private var topics: [[UInt8]] = []

    func topic(_ alias: UInt16) -> [UInt8]? {
        let index = Int(alias) - 1
        guard topics.indices.contains(index), !topics[index].isEmpty else { return nil }
        return topics[index]
    }

    func isSet(_ alias: UInt16) -> Bool {
        let index = Int(alias) &- 1
        return index >= 0 && index < topics.count && !topics[index].isEmpty
    }

    /// - Parameter alias: between 1 and `maximum`, which bounds what is kept.
    mutating func set(_ alias: UInt16, to topic: UnsafeRawBufferPointer) {
        let index = Int(alias) - 1
        guard index >= 0, alias <= maximum else { return }
        while topics.count <= index { topics.append([]) }
        // Clients that name topic and alias in every message must not cost an allocation each.
        if !topics[index].elementsEqual(topic) { topics[index] = Array(topic) }
    }
}
