internal import Glibc

/// What a front has done since it began: plain numbers that are added to as things happen.
struct FrontCounters {
    var bytesReceived: UInt64 = 0
    var bytesSent: UInt64 = 0
    /// Control packets of all kinds.
    var packetsReceived: UInt64 = 0
    /// PUBLISH, and answers to packets.
    var packetsSent: UInt64 = 0
    var publishesReceived: UInt64 = 0
    /// Of payloads.
    var publishBytesReceived: UInt64 = 0
    var publishesSent: UInt64 = 0
    var publishBytesSent: UInt64 = 0
    /// QoS 0 messages that a client did not get because it does not read.
    var publishesDropped: UInt64 = 0
    /// Connections that were opened.
    var sockets: UInt64 = 0
    /// CONNECTs that were accepted.
    var connects: UInt64 = 0
    /// Clients that are connected now, those of them with stored sessions, and the most that were at a time.
    private(set) var clients = 0
    private(set) var storedClients = 0
    private(set) var mostClients = 0
    /// Filters of clients without stored sessions.
    var subscriptions = 0

    mutating func clientConnected(isStored: Bool) {
        connects &+= 1
        clients += 1
        if isStored { storedClients += 1 }
        mostClients = max(mostClients, clients)
    }

    mutating func clientLeft(isStored: Bool) {
        clients -= 1
        if isStored { storedClients -= 1 }
    }

    /// PUBLISHes were read, of which some are answered.
    @inline(__always)
    mutating func received(messages: Int, answers: Int, payloadBytes: Int) {
        packetsReceived &+= UInt64(truncatingIfNeeded: messages)
        publishesReceived &+= UInt64(truncatingIfNeeded: messages)
        packetsSent &+= UInt64(truncatingIfNeeded: answers)
        publishBytesReceived &+= UInt64(truncatingIfNeeded: payloadBytes)
    }

    /// PUBLISHes were written to a client.
    @inline(__always)
    mutating func sent(messages: Int, payloadBytes: Int) {
        publishesSent &+= UInt64(truncatingIfNeeded: messages)
        packetsSent &+= UInt64(truncatingIfNeeded: messages)
        publishBytesSent &+= UInt64(truncatingIfNeeded: payloadBytes)
    }

    /// One PUBLISH is written to a client.
    @inline(__always)
    mutating func sent(payloadBytes: Int) {
        publishesSent &+= 1
        packetsSent &+= 1
        publishBytesSent &+= UInt64(truncatingIfNeeded: payloadBytes)
    }
}

/// How often something happens in a minute, as a moving average over 1, 5 and 15 minutes: as the load of a system is
/// counted.
struct LoadAverage {
    static let minutes: [Double] = [1, 5, 15]
    private(set) var values: [Double] = [0, 0, 0]
    private var last: UInt64 = 0

    /// - Parameters:
    ///   - count: how often it has happened until now.
    ///   - seconds: since the last time.
    mutating func update(_ count: UInt64, seconds: Double) {
        guard seconds > 0 else { return }
        let rate = Double(count &- last) * 60 / seconds
        last = count
        for index in values.indices {
            let weight = exp(-seconds / (60 * Self.minutes[index]))
            values[index] = rate + weight * (values[index] - rate)
        }
    }
}
