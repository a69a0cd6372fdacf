extension TopicFilter {
    /// Whether this filter's matched part matches a topic name.
    package func matches(_ topic: some Collection<UInt8>) -> Bool {
        topicMatches(filter: matched, topic: topic)
    }
}

/// Whether a valid filter (without `$share/group/`) matches a valid topic name (MQTT 5.0 §4.7).
///
/// Linear in both: for clients and as the oracle of tests, not for finding subscribers among many.
package func topicMatches(filter: some Collection<UInt8>, topic: some Collection<UInt8>) -> Bool {
    // A leading wildcard does not see topics that begin with $ [MQTT-4.7.2-1].
    if topic.first == TopicByte.dollar, filter.first == TopicByte.plus || filter.first == TopicByte.hash {
        return false
    }
    var filterIndex = filter.startIndex
    var topicIndex = topic.startIndex
    while filterIndex < filter.endIndex {
        switch filter[filterIndex] {
        case TopicByte.hash:
            return true
        case TopicByte.plus:
            while topicIndex < topic.endIndex, topic[topicIndex] != TopicByte.separator {
                topic.formIndex(after: &topicIndex)
            }
            filter.formIndex(after: &filterIndex)
        case let byte:
            guard topicIndex < topic.endIndex else {
                // The multi-level wildcard includes its parent: `a/#` matches `a`.
                return byte == TopicByte.separator && filter[filterIndex...].dropFirst().elementsEqual([TopicByte.hash])
            }
            guard topic[topicIndex] == byte else { return false }
            topic.formIndex(after: &topicIndex)
            filter.formIndex(after: &filterIndex)
        }
    }
    return topicIndex == topic.endIndex
}
