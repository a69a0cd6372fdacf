import Glibc

/// Standard output, which is data, or standard error, which is talk.
package enum StandardStream: Int32, Sendable {
    case output = 1
    case error = 2

    package var isTerminal: Bool { isatty(rawValue) == 1 }

    /// Whether colours and emphasis are welcome: a terminal that has them, and no `NO_COLOR` (https://no-color.org).
    package var isStyled: Bool {
        let forbidden = getenv("NO_COLOR").map { $0.pointee != 0 } ?? false
        let dumb = getenv("TERM").map { String(cString: $0) == "dumb" } ?? true
        return isTerminal && !forbidden && !dumb
    }

    /// Writes all of the text; what a closed pipe does not take is lost.
    package func write(_ text: String) {
        var text = text
        text.withUTF8 { _ = write(all: UnsafeRawBufferPointer($0)) }
    }

    /// Writes all of the bytes.
    /// - Returns: false where nobody takes them: the other end of the pipe is closed, the disk is full.
    package func write(_ bytes: [UInt8]) -> Bool {
        bytes.withUnsafeBytes { write(all: $0) }
    }

    private func write(all bytes: UnsafeRawBufferPointer) -> Bool {
        var rest = bytes
        while !rest.isEmpty {
            let count = Glibc.write(rawValue, rest.baseAddress, rest.count)
            if count < 0 {
                if errno == EINTR { continue }
                return false
            }
            rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(count))
        }
        return true
    }
}
