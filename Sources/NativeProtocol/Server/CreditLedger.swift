/// One subscription's credit between the client that grants it and the storage that uses it.
///
/// The client's credit is cut to a limit, and passed on to storage in portions, so that no more than a portion can be
/// on its way when the connection stops taking bytes.
package struct CreditLedger: Equatable, Sendable {
    /// Granted by the client and not yet passed on.
    package private(set) var heldMessages: UInt64 = 0
    package private(set) var heldBytes: UInt64 = 0
    /// Passed on and not yet used; below zero after a batch that was larger.
    package private(set) var passedMessages: Int64 = 0
    package private(set) var passedBytes: Int64 = 0

    private let maxMessages: UInt64
    private let maxBytes: UInt64
    private let portionMessages: UInt64
    private let portionBytes: UInt64

    /// - Parameters:
    ///   - maxMessages, maxBytes: what may be outstanding in all.
    ///   - portionMessages, portionBytes: what storage may have of it at a time.
    package init(
        maxMessages: UInt64 = NativeLimits.creditMessages,
        maxBytes: UInt64 = NativeLimits.creditBytes,
        portionMessages: UInt64 = 256 << 10,
        portionBytes: UInt64 = 4 << 20
    ) {
        self.maxMessages = maxMessages
        self.maxBytes = maxBytes
        self.portionMessages = portionMessages
        self.portionBytes = portionBytes
    }

    /// The client allows more; what goes beyond the limit is dropped.
    package mutating func grant(messages: UInt64, bytes: UInt64) {
        heldMessages = Self.sum(heldMessages, messages, outstanding: passedMessages, limit: maxMessages)
        heldBytes = Self.sum(heldBytes, bytes, outstanding: passedBytes, limit: maxBytes)
    }

    /// Storage has sent so much.
    package mutating func used(messages: UInt64, bytes: UInt64) {
        passedMessages = passedMessages.subtractingReportingOverflow(Int64(clamping: messages)).partialValue
        passedBytes = passedBytes.subtractingReportingOverflow(Int64(clamping: bytes)).partialValue
    }

    /// Whether there is something to pass on now.
    package var isDue: Bool {
        Self.portion(passedMessages, heldMessages, portionMessages) > 0
            || Self.portion(passedBytes, heldBytes, portionBytes) > 0
    }

    /// What to pass on now; nil where there is nothing, or what storage has is more than half a portion.
    package mutating func takePortion() -> (messages: UInt64, bytes: UInt64)? {
        let messages = Self.portion(passedMessages, heldMessages, portionMessages)
        let bytes = Self.portion(passedBytes, heldBytes, portionBytes)
        guard messages > 0 || bytes > 0 else { return nil }
        heldMessages -= messages
        heldBytes -= bytes
        passedMessages += Int64(messages)
        passedBytes += Int64(bytes)
        return (messages, bytes)
    }

    private static func portion(_ passed: Int64, _ held: UInt64, _ portion: UInt64) -> UInt64 {
        guard passed <= Int64(portion / 2) else { return 0 }
        // A debt is paid besides the portion.
        return min(held, UInt64(Int64(portion) - passed))
    }

    private static func sum(_ held: UInt64, _ more: UInt64, outstanding: Int64, limit: UInt64) -> UInt64 {
        let (sum, overflow) = held.addingReportingOverflow(more)
        let room = Int64(limit).subtractingReportingOverflow(outstanding).partialValue
        return min(overflow ? .max : sum, UInt64(max(0, room)))
    }
}
