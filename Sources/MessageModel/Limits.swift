/// The limits that every part of Sluice shares, with the reason for each number.
package enum Limits {
    /// A name travels as an MQTT topic, whose length field has 16 bits (MQTT 5.0 §1.5.4).
    package static let nameBytes = 65_535
    /// Deep enough for any naming scheme seen in practice; bounds the work of a match.
    package static let nameLevels = 128
    /// A topic's own name is also an AMQP exchange name, a short string (AMQP 0-9-1 §4.2.5.3).
    package static let topicNameBytes = 255
    /// Captures that one topic may declare besides its own subtree.
    package static let capturesPerTopic = 64
    /// Partitions of one topic: an index has 16 bits on the wire, and more than this is a mistake.
    package static let partitionsPerTopic = 1_024
    /// A subscription's name is also an AMQP queue name, a short string.
    package static let subscriptionNameBytes = 255
    /// Largest batch, header included. A batch is checked and copied in one go on the event loop, so this also bounds
    /// how long one producer can hold it (about 4 ms).
    package static let batchBytes = 16 << 20
    /// Largest number of records in a batch: bounds the work that a reader does for one frame.
    package static let recordsPerBatch = 65_535
    /// An ordering key is compared and hashed for each delivery.
    package static let orderingKeyBytes = 1_024
    /// Keys by which one message can be looked up: each costs memory and disk of its own. What is more is carried along.
    package static let keysPerMessage = 64
    /// Largest encoded size of one message's properties.
    package static let propertiesBytes = 256 << 10
}
