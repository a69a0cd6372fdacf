internal import AMQPProtocol
internal import MessageModel

/// Who waits for which append: the messages of a channel that follow each other in one are told of together.
struct PublishWaiters {
    enum Owner {
        case channel(AMQPConnectionHandler, ChannelState)
        /// One append of several of a message.
        case group(PublishGroup)
    }

    struct Waiter {
        var owner: Owner
        /// The sequence of the first message where the channel is in confirm mode, or zero.
        var firstTag: UInt64
        var count: Int
        var bytes: Int
    }

    /// By the tokens of the appends, in the order of the messages.
    private var waiting: [UInt64: [Waiter]] = [:]
    /// Those whose message was added last, and its append.
    private var lastHandler: AMQPConnectionHandler?
    private var lastChannel: ChannelState?
    private var lastTag: UInt64 = 0
    private var lastCount = 0
    private var lastBytes = 0
    private var lastToken: UInt64 = 0

    /// A message of a channel is in the append with this token.
    /// - Parameter tag: zero where the channel is not in confirm mode.
    @inline(__always)
    mutating func wait(
        _ handler: AMQPConnectionHandler,
        _ channel: ChannelState,
        tag: UInt64,
        bytes: Int,
        token: UInt64
    ) {
        if token == lastToken, lastChannel === channel,
            lastTag == 0 ? tag == 0 : tag == lastTag &+ UInt64(truncatingIfNeeded: lastCount)
        {
            lastCount &+= 1
            lastBytes &+= bytes
            return
        }
        closeLast()
        lastHandler = handler
        lastChannel = channel
        lastTag = tag
        lastCount = 1
        lastBytes = bytes
        lastToken = token
    }

    mutating func wait(_ group: PublishGroup, token: UInt64) {
        closeLast()
        waiting[token, default: []].append(Waiter(owner: .group(group), firstTag: 0, count: 1, bytes: 0))
    }

    /// To be called before the appends are handed over.
    mutating func closeLast() {
        guard let handler = lastHandler, let channel = lastChannel else { return }
        lastHandler = nil
        lastChannel = nil
        waiting[lastToken, default: []]
            .append(
                Waiter(owner: .channel(handler, channel), firstTag: lastTag, count: lastCount, bytes: lastBytes)
            )
    }

    mutating func take(_ token: UInt64) -> [Waiter] { waiting.removeValue(forKey: token) ?? [] }
}
