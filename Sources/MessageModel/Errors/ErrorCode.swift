/// The one registry of errors. Each code knows how every protocol says it.
///
/// The raw value is the native protocol's status: the high nibble is the `StatusClass`.
package enum ErrorCode: UInt16, CaseIterable, Sendable {
    case shuttingDown = 0x1001
    case busy = 0x2001
    case storageUnavailable = 0x2002
    case producerFenced = 0x3001
    case attachmentFenced = 0x3002
    case malformed = 0x4001
    case invalidName = 0x4002
    case notSupported = 0x4003
    case tooLarge = 0x4004
    case invalidArgument = 0x4005
    case checksumMismatch = 0x4006
    case unauthenticated = 0x5001
    case denied = 0x5002
    case topicNotFound = 0x6001
    case subscriptionNotFound = 0x6002
    case offsetOutOfRange = 0x6003
    case notFound = 0x6004
    case alreadyExists = 0x7001
    case sequenceGap = 0x7002
    case subscriptionInUse = 0x7003
    case leaseLost = 0x7004
    case storageFull = 0x8001
    case quotaExceeded = 0x8002
    case indeterminate = 0x9001
    case protocolViolation = 0xF001
    case versionNotSupported = 0xF002
    case `internal` = 0xF003
}

/// What a caller can do about an error: the high nibble of the native status.
package enum StatusClass: UInt8, Sendable {
    case ok = 0
    /// Try again at once, elsewhere or on a new connection.
    case retryElsewhere = 1
    /// Try again later.
    case backOff = 2
    /// Somebody newer has taken this producer's or reader's place.
    case fenced = 3
    case clientError = 4
    case authentication = 5
    case notFound = 6
    case conflict = 7
    case quota = 8
    /// It may or may not have happened: find out, or repeat with the same producer and sequence.
    case indeterminate = 9
    /// The connection ends with this.
    case fatal = 15
}

extension ErrorCode {
    /// How the protocols say one error.
    package struct Rendering: Sendable {
        /// The stable word for it, used in JSON and in logs.
        package let name: String
        package let title: String
        /// MQTT 5.0 §2.4.
        package let mqttReason: UInt8
        /// AMQP 0-9-1 §1.2.
        package let amqpReply: UInt16
        package let httpStatus: Int
    }

    package var statusClass: StatusClass { StatusClass(rawValue: UInt8(rawValue >> 12)) ?? .fatal }

    package var rendering: Rendering {
        func says(_ name: String, _ title: String, mqtt: UInt8, amqp: UInt16, http: Int) -> Rendering {
            Rendering(name: name, title: title, mqttReason: mqtt, amqpReply: amqp, httpStatus: http)
        }
        switch self {
        case .shuttingDown:
            return says("shutting_down", "The server is shutting down", mqtt: 0x8B, amqp: 320, http: 503)
        case .busy: return says("busy", "The server is busy", mqtt: 0x89, amqp: 506, http: 503)
        case .storageUnavailable:
            return says("storage_unavailable", "Storage refuses writes", mqtt: 0x88, amqp: 541, http: 503)
        case .producerFenced:
            return says("producer_fenced", "A newer producer took over", mqtt: 0x8E, amqp: 406, http: 409)
        case .attachmentFenced:
            return says("attachment_fenced", "A newer consumer took over", mqtt: 0x8E, amqp: 406, http: 409)
        case .malformed: return says("malformed", "Malformed request", mqtt: 0x81, amqp: 502, http: 400)
        case .invalidName: return says("invalid_name", "Invalid name", mqtt: 0x90, amqp: 406, http: 400)
        case .notSupported: return says("not_supported", "Not supported", mqtt: 0x83, amqp: 540, http: 501)
        case .tooLarge: return says("too_large", "Too large", mqtt: 0x95, amqp: 311, http: 413)
        case .invalidArgument: return says("invalid_argument", "Invalid argument", mqtt: 0x83, amqp: 406, http: 400)
        case .checksumMismatch: return says("checksum_mismatch", "Checksum mismatch", mqtt: 0x81, amqp: 502, http: 422)
        case .unauthenticated: return says("unauthenticated", "Not authenticated", mqtt: 0x86, amqp: 403, http: 401)
        case .denied: return says("denied", "Not permitted", mqtt: 0x87, amqp: 403, http: 403)
        case .topicNotFound: return says("topic_not_found", "No such topic", mqtt: 0x90, amqp: 404, http: 404)
        case .subscriptionNotFound:
            return says("subscription_not_found", "No such subscription", mqtt: 0x11, amqp: 404, http: 404)
        case .offsetOutOfRange:
            return says("offset_out_of_range", "Offset out of range", mqtt: 0x83, amqp: 406, http: 416)
        case .notFound: return says("not_found", "Not found", mqtt: 0x83, amqp: 404, http: 404)
        case .alreadyExists:
            return says("already_exists", "Exists with other settings", mqtt: 0x83, amqp: 406, http: 409)
        case .sequenceGap: return says("sequence_gap", "Sequence out of order", mqtt: 0x83, amqp: 406, http: 409)
        case .subscriptionInUse:
            return says("subscription_in_use", "Subscription in use", mqtt: 0x83, amqp: 405, http: 409)
        case .leaseLost:
            return says("lease_lost", "The message was delivered again or is done", mqtt: 0x80, amqp: 406, http: 409)
        case .storageFull: return says("storage_full", "Storage is full", mqtt: 0x97, amqp: 506, http: 507)
        case .quotaExceeded: return says("quota_exceeded", "Quota exceeded", mqtt: 0x97, amqp: 506, http: 429)
        case .indeterminate: return says("indeterminate", "May or may not be stored", mqtt: 0x80, amqp: 541, http: 503)
        case .protocolViolation:
            return says("protocol_violation", "Protocol violation", mqtt: 0x82, amqp: 503, http: 400)
        case .versionNotSupported:
            return says("version_not_supported", "Version not supported", mqtt: 0x84, amqp: 540, http: 505)
        case .internal: return says("internal", "Internal error", mqtt: 0x80, amqp: 541, http: 500)
        }
    }
}

/// An error as a person and a program read it.
package struct SluiceError: Error, Sendable, Equatable, CustomStringConvertible {
    package var code: ErrorCode
    /// What happened, and why.
    package var message: String
    /// What to do about it; empty where there is nothing to say.
    package var hint: String

    package init(_ code: ErrorCode, _ message: String, hint: String = "") {
        self.code = code
        self.message = message
        self.hint = hint
    }

    package var description: String {
        "\(code.rendering.name): \(message)" + (hint.isEmpty ? "" : " (\(hint))")
    }
}
