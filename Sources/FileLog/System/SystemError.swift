import Glibc
import StorageEngine

/// A system call that failed: what was tried on which path, and the system's error number.
struct SystemError: Error {
    /// Such as "cannot open".
    var attempt: String
    var path: String
    var number: Int32

    init(_ attempt: String, _ path: String, number: Int32 = errno) {
        self.attempt = attempt
        self.path = path
        self.number = number
    }

    /// What the system says about the number, such as "No space left on device (errno 28)".
    var reason: String {
        let text = withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer -> String in
            guard let start = buffer.baseAddress, strerror_r(number, start, buffer.count) == 0 else { return "unknown" }
            return String(cString: start)
        }
        return "\(text) (errno \(number))"
    }

    var text: String { "\(attempt) \(path): \(reason)" }

    var deviceError: DeviceError {
        switch number {
        case ENOSPC, EDQUOT: return DeviceError(.full, text)
        case ENOENT: return DeviceError(.notFound, text)
        default: return DeviceError(.failed, text)
        }
    }
}
