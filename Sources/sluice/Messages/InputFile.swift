import AdminConsole
import Glibc

/// A file or standard input, read in large pieces.
struct InputFile {
    private let descriptor: Int32
    private let name: String
    private var buffer: [UInt8] = []
    /// What of the buffer is consumed, and where the search for a line's end goes on.
    private var start = 0
    private var searched = 0
    private var isAtEnd = false

    static let standardInput = InputFile(descriptor: 0, name: "standard input")

    private init(descriptor: Int32, name: String) {
        self.descriptor = descriptor
        self.name = name
    }

    /// All of a file; `-` is standard input.
    static func contents(of path: String) throws(CommandFailure) -> [UInt8] {
        if path == "-" {
            var input = standardInput
            return try input.rest()
        }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure(path) }
        defer { close(descriptor) }
        var file = InputFile(descriptor: descriptor, name: path)
        return try file.rest()
    }

    /// The next line without its end, LF or CR LF; nil at the end of the input. A last line without an end counts.
    mutating func line() throws(CommandFailure) -> [UInt8]? {
        while true {
            if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                var line = buffer[start..<end]
                if line.last == UInt8(ascii: "\r") { line.removeLast() }
                start = end + 1
                searched = start
                return Array(line)
            }
            searched = buffer.count
            guard !isAtEnd else {
                guard start < buffer.count else { return nil }
                defer { start = buffer.count }
                return Array(buffer[start...])
            }
            try fill()
        }
    }

    private mutating func rest() throws(CommandFailure) -> [UInt8] {
        while !isAtEnd { try fill() }
        return Array(buffer[start...])
    }

    /// Reads what is there, at least one byte unless the end has come.
    private mutating func fill() throws(CommandFailure) {
        buffer.removeFirst(start)
        searched -= start
        start = 0
        let piece = 64 << 10
        let had = buffer.count
        buffer.append(contentsOf: repeatElement(0, count: piece))
        var count = -1
        repeat {
            count = buffer.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress.map { $0 + had }, piece) }
        } while count < 0 && errno == EINTR
        let problem = errno
        buffer.removeLast(piece - max(0, count))
        if count < 0 {
            errno = problem
            throw Self.failure(name)
        }
        if count == 0 { isAtEnd = true }
    }

    private static func failure(_ name: String) -> CommandFailure {
        CommandFailure(.failed, "cannot read \(name)", why: String(cString: strerror(errno)))
    }
}
