internal import AMQPModel
internal import AMQPProtocol
internal import StorageService

/// Where deliveries of a channel come from: a consumer of a queue, or what basic.get takes from it. One attachment in
/// storage, whose number is what the state machine calls the source.
final class Source {
    unowned let handler: AMQPConnectionHandler
    let channel: ChannelState
    let attachment: UInt32
    let queue: QueueNumber
    /// The number of the consumer on its channel; nil for what basic.get takes.
    let consumer: UInt32?
    let isAutomatic: Bool
    /// It reads a stream: there are no leases, and an acknowledgement only gives credit back.
    var isStream = false
    /// Its messages count towards the limit of its channel.
    var sharesCredit = false
    /// What basic.get has taken and waits for its answer.
    var gotten: GottenMessage?
    /// Nothing more is delivered; what was delivered waits for its acknowledgement.
    var isCancelled = false
    /// Deliveries that were not settled.
    @exclusivity(unchecked)
    var unsettled = 0

    /// Of settlements that are not handed over yet, a run of sequences of one lane with one outcome.
    @exclusivity(unchecked)
    var run = SettledRun()
    /// Messages that were settled and whose credit was not given back.
    @exclusivity(unchecked)
    var returnedMessages = 0
    /// Bytes that were delivered and whose credit was not given back.
    @exclusivity(unchecked)
    var deliveredBytes = 0
    /// It is among those whose settlements are handed over with this tick.
    @exclusivity(unchecked)
    var isDue = false

    init(
        handler: AMQPConnectionHandler,
        channel: ChannelState,
        attachment: UInt32,
        queue: QueueNumber,
        consumer: UInt32?,
        isAutomatic: Bool
    ) {
        self.handler = handler
        self.channel = channel
        self.attachment = attachment
        self.queue = queue
        self.consumer = consumer
        self.isAutomatic = isAutomatic
    }
}

/// Messages that are settled alike, one behind the other.
struct SettledRun {
    var count = 0
    var outcome = SettlementOutcome.acknowledge
    var lane: UInt16 = 0
    var first: UInt64 = 0
    var last: UInt64 = 0

    /// - Returns: false where the message does not follow.
    @inline(__always)
    mutating func append(_ token: DeliveryToken, _ outcome: SettlementOutcome) -> Bool {
        if count == 0 {
            self.outcome = outcome
            lane = token.lane
            first = token.sequence
        } else if outcome != self.outcome || token.lane != lane || token.sequence != last &+ 1 {
            return false
        }
        last = token.sequence
        count &+= 1
        return true
    }

    var settlement: Settlement {
        switch outcome {
        case .acknowledge: .accept
        case .requeue: .release(delayMicroseconds: 0, countsAttempt: true)
        case .reject: .reject(reason: "rejected")
        }
    }
}

/// What the state machine keeps with a delivery: which message of its source it is.
struct DeliveryToken {
    /// The lane in the highest 16 bits, then the sequence.
    let rawValue: UInt64
    static let sequenceBits: UInt64 = 48

    @inline(__always)
    init(rawValue: UInt64) { self.rawValue = rawValue }

    @inline(__always)
    init(lane: UInt16, sequence: UInt64) {
        rawValue = UInt64(lane) << Self.sequenceBits | sequence & (1 << Self.sequenceBits - 1)
    }

    var lane: UInt16 { UInt16(truncatingIfNeeded: rawValue >> Self.sequenceBits) }
    var sequence: UInt64 { rawValue & (1 << Self.sequenceBits - 1) }
}

/// A message for basic.get, until it is known how many are left behind it.
struct GottenMessage {
    var token: DeliveryToken
    var isRedelivered: Bool
    var exchange: [UInt8]
    var routingKey: [UInt8]
    var properties: [UInt8]
    var body: [UInt8]
}
