package import MessageModel

/// What went wrong, for a program (`code`) and for a person (`message`, `hint`).
public struct SluiceClientError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kind of an error. New ones may come; treat those that you do not know by their `class`.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        /// The status as it is on the wire; docs/native-protocol.md lists all. Those of the client itself are below
        /// 0x1000.
        public let rawValue: UInt16
        /// The stable word for it, as the server and the other protocols use it.
        public let description: String

        init(rawValue: UInt16, description: String) {
            self.rawValue = rawValue
            self.description = description
        }

        init(_ code: ErrorCode) { self.init(rawValue: code.rawValue, description: code.rendering.name) }

        /// No connection could be made, or it was lost and did not come back in time. What the call asked for has not
        /// happened.
        public static let connectionLost = Code(rawValue: 0x0001, description: "connection_lost")
        /// Nothing came in time. What the call asked for has not happened.
        public static let timedOut = Code(rawValue: 0x0002, description: "timed_out")
        /// The client, the producer or the consumer is closed.
        public static let closed = Code(rawValue: 0x0003, description: "closed")
        /// It may or may not have happened.
        public static let indeterminate = Code(.indeterminate)
        public static let topicNotFound = Code(.topicNotFound)
        public static let subscriptionNotFound = Code(.subscriptionNotFound)
        public static let subscriptionInUse = Code(.subscriptionInUse)
        public static let alreadyExists = Code(.alreadyExists)
        public static let offsetOutOfRange = Code(.offsetOutOfRange)
        public static let invalidName = Code(.invalidName)
        public static let invalidArgument = Code(.invalidArgument)
        public static let notSupported = Code(.notSupported)
        public static let tooLarge = Code(.tooLarge)
        public static let storageFull = Code(.storageFull)
        public static let storageUnavailable = Code(.storageUnavailable)
        public static let busy = Code(.busy)
        public static let producerFenced = Code(.producerFenced)
        /// The message was delivered again or is done: what was said about this delivery of it did not count.
        public static let leaseLost = Code(.leaseLost)
        public static let notFound = Code(.notFound)
        public static let attachmentFenced = Code(.attachmentFenced)
        public static let protocolViolation = Code(.protocolViolation)
    }

    /// What can be done about an error.
    public enum Class: Sendable {
        /// Trying again later may help; nothing has happened.
        case retry
        /// The request is wrong, or what it names is not there.
        case refused
        /// It may or may not have happened.
        case indeterminate
    }

    public var code: Code
    public var message: String
    /// What to do about it; empty where there is nothing to say.
    public var hint: String

    package init(_ code: Code, _ message: String, hint: String = "") {
        self.code = code
        self.message = message
        self.hint = hint
    }

    package init(_ error: SluiceError) {
        self.init(Code(error.code), error.message, hint: error.hint)
    }

    public var `class`: Class {
        switch code.rawValue >> 12 {
        case 0: code == .closed ? .refused : .retry
        case 1, 2: .retry
        case 9: .indeterminate
        default: .refused
        }
    }

    public var description: String {
        "\(code): \(message)" + (hint.isEmpty ? "" : " (\(hint))")
    }

    static let isClosed = SluiceClientError(.closed, "it is closed")
}
