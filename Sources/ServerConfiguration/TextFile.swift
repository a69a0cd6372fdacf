import Glibc

/// Why a file could not be read, for a person.
struct FileReadProblem: Error {
    var message: String
}

/// A whole UTF-8 file of at most `maxSize` bytes.
func readTextFile(_ path: String, maxSize: Int) throws(FileReadProblem) -> String {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileReadProblem(message: "cannot read \(path): \(systemError())") }
    defer { _ = close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16 << 10)
    while true {
        let count = read(descriptor, &chunk, chunk.count)
        if count < 0 {
            if errno == EINTR { continue }
            throw FileReadProblem(message: "cannot read \(path): \(systemError())")
        }
        if count == 0 { break }
        guard bytes.count + count <= maxSize else {
            throw FileReadProblem(message: "\(path) is larger than \(Units.text(bytes: maxSize))")
        }
        bytes += chunk[..<count]
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
        throw FileReadProblem(message: "\(path) is not UTF-8")
    }
    return text
}

private func systemError() -> String {
    String(cString: strerror(errno))
}
