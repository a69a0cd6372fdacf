/// Limits and defaults of the HTTP front, with the reason for each.
package struct HTTPOptions: Sendable {
    /// What `GET /v1/version` says.
    package var version = ""
    /// Largest body of a request, in bytes. It is held in memory as a whole.
    package var maxBodyBytes = 8 << 20
    /// Bodies of all requests under way together, in bytes; beyond it requests are refused as busy.
    package var maxBodyBytesInFlight = 256 << 20
    /// Reads that wait for messages at the same time; beyond it they are refused as busy. Each is looked at when its
    /// partition grows.
    package var maxWaitingReads = 1_000
    /// Largest request line with all header fields, in bytes; also the limit of one field.
    package var maxHeaderBytes = 64 << 10
    /// Header fields of one request.
    package var maxHeaderFields = 200
    /// Connections beyond this wait in the listen queue.
    package var maxConnections = 10_000
    /// A connection without a request is closed after this time, in ms. Longer than the 60 s that load balancers keep
    /// theirs, so that they close first.
    package var idleTimeoutMilliseconds: Int64 = 75_000
    /// From the head of a request to its end, in ms: a sender that drips is cut off.
    package var requestTimeoutMilliseconds: Int64 = 30_000
    /// From the first byte of an answer until the system has taken the last, in ms: a reader that stops is cut off.
    package var responseTimeoutMilliseconds: Int64 = 60_000
    /// An append or a request that storage has not answered by then is answered with an error, in ms.
    package var storageTimeoutMilliseconds: Int64 = 30_000
    /// Where applications may be called back: `host:port`, port 0 for any. Nowhere else, because what the server can
    /// reach its clients may not.
    package var callbackAddresses: [(host: String, port: Int)] = []
    /// One call to an application, from its first byte to the last of the answer, in ms.
    package var callbackTimeoutMilliseconds: Int64 = 10_000
    /// Requests under way have this long to end when the server stops, in ms.
    package var shutdownMilliseconds: Int64 = 10_000

    package init() {}
}

/// What is not configured.
enum HTTPLimits {
    /// Messages in one publish request.
    static let messagesPerPublish = 1_000
    /// Headers, and look-up keys, of one message: with the limit on properties they bound what it takes to read one.
    static let headersPerMessage = 256
    static let keysPerMessage = 64
    /// Messages in one answer, and how many without `limit`.
    static let messagesPerRead = 1_000
    static let defaultMessagesPerRead = 100
    /// Bytes of message bodies after which an answer is not made longer: with one message more it stays far below what
    /// clients hold in memory.
    static let bodyBytesPerRead = 4 << 20
    /// Asked from storage at once.
    static let fetchBytes = 1 << 20
    /// What one request with a filter looks through before it answers with how far it came.
    static let scanBytes = 64 << 20
    /// Longest wait of a read, in µs: many proxies give up after 60 s without a byte.
    static let waitMicroseconds: UInt64 = 60_000_000
    static let topicsPerPage = 500
    static let defaultTopicsPerPage = 50
    /// Calls to applications at the same time; what is beyond them is asked with the next check.
    static let callbacks = 64
    /// The answer of an application that is called.
    static let callbackAnswerBytes = 64 << 10
    /// A trace header is 55 bytes (traceparent), or at most 512 characters (tracestate, W3C Trace Context §3.3.1.5).
    static let traceBytes = 512
    /// What is left of a refused request is read and dropped for so long, in ms, so that its sender reads the answer.
    static let lingerMilliseconds: Int64 = 2_000
}
