/// The address of a server's HTTP front: `http://host:port`.
package struct ServerURL: Sendable, Equatable, CustomStringConvertible {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    package var host: String
    package var port: Int

    package static let defaultPort = 7480

    /// Reads `http://host[:port]`, with or without a slash at the end.
    package init(_ text: String) throws(CommandFailure) {
        func wrong(_ why: String) -> CommandFailure {
            CommandFailure(.usage, "'\(text)' is no server address", why: why, hint: "--url http://127.0.0.1:7480")
        }
        if text.lowercased().hasPrefix("https://") { throw wrong("https is not supported yet") }
        guard text.lowercased().hasPrefix("http://") else { throw wrong("it does not begin with http://") }
        var rest = text.dropFirst("http://".count)
        if rest.last == "/" { rest = rest.dropLast() }
        guard rest.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "@") }) else {
            throw wrong("a host is made of letters, digits, '.' and '-'")
        }
        guard !rest.contains("/"), !rest.contains("?"), !rest.contains("#") else {
            throw wrong("it has a path, and the server's API is at the top")
        }
        var portText: Substring?
        if rest.first == "[" {
            guard let end = rest.firstIndex(of: "]") else { throw wrong("a bracket is not closed") }
            host = String(rest[rest.index(after: rest.startIndex)..<end])
            let after = rest[rest.index(after: end)...]
            if !after.isEmpty {
                guard after.first == ":" else { throw wrong("only a port follows the brackets") }
                portText = after.dropFirst()
            }
        } else if let colon = rest.firstIndex(of: ":") {
            host = String(rest[..<colon])
            portText = rest[rest.index(after: colon)...]
        } else {
            host = String(rest)
        }
        guard !host.isEmpty else { throw wrong("it has no host") }
        guard let portText else {
            port = Self.defaultPort
            return
        }
        guard let number = UInt16(portText), number > 0 else { throw wrong("'\(portText)' is no port") }
        port = Int(number)
    }

    /// `host:port`, as the Host header has it.
    package var authority: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    package var description: String { "http://\(authority)" }
}
