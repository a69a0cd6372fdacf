internal import MessageModel

/// The limits and defaults of the native protocol, with the reason for each number.
package enum NativeLimits {
    /// The only protocol revision there is; HELLO agrees on one.
    package static let version: UInt16 = 1
    /// Before HELLO nobody has a reason to send more.
    package static let frameBytesBeforeHello = 4 << 10
    /// The largest batch, the record ranges of a delivery with a filter (8 bytes for every second record at worst), and
    /// the headers.
    package static let frameBytes = Limits.batchBytes + (1 << 20)
    /// A peer that accepts less cannot take part: every answer but batches fits in this.
    package static let smallestFrameBytes = 64 << 10
    /// Requests without an answer, on one connection: enough to fill a long line, bounded so that nobody can make the
    /// server hold more.
    package static let outstandingRequests = 64
    /// Producers and subscriptions that are open on one connection.
    package static let handles = 1_024
    /// Credit that one subscription can have outstanding; more is cut.
    package static let creditMessages: UInt64 = 1 << 20
    package static let creditBytes: UInt64 = 64 << 20
    /// One FETCH answers with no more, or with one batch that is larger.
    package static let fetchBytes: UInt32 = 4 << 20
    /// The longest that a FETCH waits, in ms.
    package static let fetchWaitMs: UInt32 = 60_000
    /// Entries of one list answer.
    package static let listEntries = 1_000
    /// Why a message was rejected; it travels with the dead letter.
    package static let reasonBytes = 1_024
    /// Messages that one BROWSE or LOOK_UP answers with.
    package static let foundMessages = 1_000
    /// Names of clients, consumers and products.
    package static let labelBytes = 255
}
