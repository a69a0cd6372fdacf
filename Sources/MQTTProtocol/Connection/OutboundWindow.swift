/// The QoS 1 messages that were sent to a client and not acknowledged, each with its packet identifier and the
/// owner's token.
///
/// Identifiers follow a sequence number, so the open ones are a window of it and an acknowledgement finds its place
/// by arithmetic. A message that stays open while the sequence runs on far ahead is set aside, and its identifier
/// passed over: an open identifier is never given twice (MQTT 5.0 §2.2.1).
struct OutboundWindow: Sendable {
    private struct Straggler {
        var sequence: UInt64
        var token: UInt64
    }

    /// In a place of the ring: nothing is open here.
    private static let vacant = UInt64.max
    private static let identifiers: UInt64 = 65_535

    /// Most messages open at a time.
    private(set) var limit: Int
    private(set) var openCount = 0
    /// Tokens by sequence number; the size is a power of two.
    private var ring: [UInt64] = []
    private var first: UInt64 = 0
    private var next: UInt64 = 0
    /// The packet identifier of `first`, less one; kept so that no message costs a division.
    private var firstPosition: UInt64 = 0
    private var stragglers: [UInt16: Straggler] = [:]

    init(limit: Int) {
        self.limit = min(max(limit, 0), Int(Self.identifiers))
    }

    var hasRoom: Bool { openCount < limit }

    /// How far the window may stretch before its oldest message is set aside.
    private var maximumSpan: UInt64 { min(Self.identifiers, UInt64(max(16, limit * 2))) }

    private func place(_ sequence: UInt64) -> Int {
        Int(truncatingIfNeeded: sequence) & (ring.count &- 1)
    }

    private func identifier(_ sequence: UInt64) -> UInt16 {
        var position = firstPosition &+ (sequence &- first)
        if position >= Self.identifiers { position &-= Self.identifiers }
        return UInt16(truncatingIfNeeded: position) &+ 1
    }

    /// Opens a message.
    ///
    /// - Parameter token: anything but `UInt64.max`.
    /// - Returns: its packet identifier, or nil when the window is full.
    mutating func open(token: UInt64) -> UInt16? {
        assert(token != Self.vacant)
        guard hasRoom else { return nil }
        while true {
            if next &- first == maximumSpan { setFirstAside() }
            let identifier = identifier(next)
            guard stragglers.isEmpty || stragglers[identifier] == nil else {
                append(Self.vacant)
                advance()
                continue
            }
            append(token)
            openCount += 1
            return identifier
        }
    }

    /// Closes a message.
    ///
    /// - Returns: its token, or nil when no message with this identifier is open.
    mutating func close(_ identifier: UInt16) -> UInt64? {
        if let place = openPlace(identifier) {
            let token = ring[place]
            ring[place] = Self.vacant
            openCount -= 1
            advance()
            return token
        }
        guard !stragglers.isEmpty, let straggler = stragglers.removeValue(forKey: identifier) else { return nil }
        openCount -= 1
        return straggler.token
    }

    func isOpen(_ identifier: UInt16) -> Bool {
        openPlace(identifier) != nil || stragglers[identifier] != nil
    }

    /// Where in the ring a message with this identifier is open.
    private func openPlace(_ identifier: UInt16) -> Int? {
        guard identifier != 0 else { return nil }
        let position = UInt64(identifier) &- 1
        let distance =
            position >= firstPosition ? position &- firstPosition : position &+ Self.identifiers &- firstPosition
        guard distance < next &- first else { return nil }
        let place = place(first &+ distance)
        return ring[place] == Self.vacant ? nil : place
    }

    /// The tokens of all open messages, in the order they were sent.
    var openTokens: [UInt64] {
        let aside = stragglers.values.sorted { $0.sequence < $1.sequence }.map(\.token)
        return aside + (first..<next).map { ring[place($0)] }.filter { $0 != Self.vacant }
    }

    private mutating func append(_ token: UInt64) {
        if Int(truncatingIfNeeded: next &- first) == ring.count { grow() }
        ring[place(next)] = token
        next &+= 1
    }

    /// Moves the window's beginning to its oldest open message.
    private mutating func advance() {
        while first < next, ring[place(first)] == Self.vacant {
            first &+= 1
            firstPosition &+= 1
            if firstPosition == Self.identifiers { firstPosition = 0 }
        }
    }

    private mutating func setFirstAside() {
        let token = ring[place(first)]
        if token != Self.vacant {
            stragglers[identifier(first)] = Straggler(sequence: first, token: token)
            ring[place(first)] = Self.vacant
        }
        advance()
    }

    private mutating func grow() {
        let size = max(8, ring.count * 2)
        var larger = [UInt64](repeating: Self.vacant, count: size)
        for sequence in first..<next {
            larger[Int(truncatingIfNeeded: sequence) & (size - 1)] = ring[place(sequence)]
        }
        ring = larger
    }
}
