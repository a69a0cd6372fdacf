/// Topic names: what PUBLISH and wills carry (MQTT 5.0 §4.7).
package enum TopicName {
    /// Validates a topic name in one scan: well-formed UTF-8 without control characters, no wildcard, not empty,
    /// within the limits.
    ///
    /// - Throws: `malformedTopicName`, `emptyTopicName` or `topicNameBeyondLimits`.
    package static func validate(
        _ topic: UnsafeRawBufferPointer,
        limits: MQTTLimits
    ) throws(MQTTProtocolError) {
        guard !topic.isEmpty else { throw .emptyTopicName }
        guard topic.count <= limits.maximumTopicLength else { throw .topicNameBeyondLimits }
        var levels = 1
        var index = 0
        let count = topic.count
        while index < count {
            if let word = UTF8Text.word(of: topic, at: index), UTF8Text.isPlainASCII(word), !containsWildcard(word) {
                levels &+= separators(in: word)
                index &+= 8
                continue
            }
            switch topic[index] {
            case TopicByte.plus, TopicByte.hash: throw .malformedTopicName
            case TopicByte.separator:
                levels &+= 1
                index &+= 1
            case 0x20..<0x7F:
                index &+= 1
            default:
                guard let length = UTF8Text.scalarLength(topic, at: index, .name) else { throw .malformedTopicName }
                index &+= length
            }
        }
        guard levels <= limits.maximumTopicLevels else { throw .topicNameBeyondLimits }
    }

    @inline(__always)
    private static func containsWildcard(_ word: UInt64) -> Bool {
        UTF8Text.hasZeroByte(word ^ (UTF8Text.ones &* UInt64(TopicByte.plus)))
            || UTF8Text.hasZeroByte(word ^ (UTF8Text.ones &* UInt64(TopicByte.hash)))
    }

    /// Separators among eight ASCII bytes.
    @inline(__always)
    private static func separators(in word: UInt64) -> Int {
        // A byte of `difference` is zero where the separator stands; adding 0x7F then leaves its high bit clear.
        let difference = word ^ (UTF8Text.ones &* UInt64(TopicByte.separator))
        let sums = difference &+ (UTF8Text.ones &* 0x7F)
        return (~sums & UTF8Text.highBits).nonzeroBitCount
    }
}

/// The bytes with a meaning in topic names and filters.
enum TopicByte {
    static let separator = UInt8(ascii: "/")
    static let plus = UInt8(ascii: "+")
    static let hash = UInt8(ascii: "#")
    static let dollar = UInt8(ascii: "$")
}
