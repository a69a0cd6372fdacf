/// A validated topic filter of SUBSCRIBE or UNSUBSCRIBE (MQTT 5.0 §4.7.1, §4.8.2).
package struct TopicFilter: Sendable, Hashable {
    /// The whole filter as it was sent, `$share/…` included: UNSUBSCRIBE compares this text.
    package let text: MQTTString
    /// Where the group of `$share/group/filter` lies in `text`; empty for an ordinary subscription.
    private let groupRange: Range<Int>
    package let hasWildcards: Bool
    /// Number of levels of the part that is matched against topics.
    package let levels: Int

    package var isShared: Bool { !groupRange.isEmpty }

    /// The group of a shared subscription.
    package var shareGroup: ArraySlice<UInt8>? {
        isShared ? text.bytes[groupRange] : nil
    }

    /// The part that is matched against topic names, without `$share/group/`.
    package var matched: ArraySlice<UInt8> {
        isShared ? text.bytes[(groupRange.upperBound + 1)...] : text.bytes[...]
    }

    /// Validates a filter; `$share/` introduces a group in all versions, as every broker does it.
    ///
    /// - Throws: `malformedTopicFilter` or `topicFilterBeyondLimits`.
    package init(_ bytes: UnsafeRawBufferPointer, limits: MQTTLimits) throws(MQTTProtocolError) {
        guard UTF8Text.isValid(bytes, .name), !bytes.isEmpty else { throw .malformedTopicFilter }
        guard bytes.count <= limits.maximumTopicLength else { throw .topicFilterBeyondLimits }
        var matchedStart = 0
        var group = 0..<0
        if bytes.starts(with: Self.sharePrefix) {
            let groupStart = Self.sharePrefix.count
            guard let groupEnd = bytes[groupStart...].firstIndex(of: TopicByte.separator), groupEnd > groupStart,
                !bytes[groupStart..<groupEnd].contains(where: { $0 == TopicByte.plus || $0 == TopicByte.hash }),
                groupEnd + 1 < bytes.count
            else { throw .malformedTopicFilter }
            group = groupStart..<groupEnd
            matchedStart = groupEnd + 1
        } else if bytes.elementsEqual(Self.sharePrefix.dropLast()) {
            throw .malformedTopicFilter
        }
        var levels = 1
        var hasWildcards = false
        for index in matchedStart..<bytes.count {
            let byte = bytes[index]
            if byte == TopicByte.separator {
                levels += 1
                continue
            }
            guard byte == TopicByte.plus || byte == TopicByte.hash else { continue }
            hasWildcards = true
            let beginsLevel = index == matchedStart || bytes[index - 1] == TopicByte.separator
            let isLast = index == bytes.count - 1
            let endsLevel = isLast || (byte == TopicByte.plus && bytes[index + 1] == TopicByte.separator)
            guard beginsLevel, endsLevel else { throw .malformedTopicFilter }
        }
        guard levels <= limits.maximumTopicLevels else { throw .topicFilterBeyondLimits }
        self.text = MQTTString(bytes)
        self.groupRange = group
        self.hasWildcards = hasWildcards
        self.levels = levels
    }

    /// Validates a filter given as text.
    package init(_ text: MQTTString, limits: MQTTLimits = MQTTLimits()) throws(MQTTProtocolError) {
        let result: Result<TopicFilter, MQTTProtocolError> = text.bytes.withUnsafeBytes { bytes in
            Result { () throws(MQTTProtocolError) in try TopicFilter(bytes, limits: limits) }
        }
        self = try result.get()
    }

    private static let sharePrefix = Array("$share/".utf8)
}
