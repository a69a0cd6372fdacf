import ArgumentParser

/// Where a server listens for native clients: `host:port`, `[ipv6]:port`, or a host alone.
package struct ServerAddress: Sendable, Equatable, ExpressibleByArgument, CustomStringConvertible {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    package var host: String
    package var port: Int

    package static let defaultPort = 7400
    package static let local = ServerAddress(host: "127.0.0.1", port: defaultPort)

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    package init?(argument text: String) {
        var host = Substring(text)
        var port: Substring?
        if text.first == "[" {
            guard let end = text.lastIndex(of: "]") else { return nil }
            host = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            if !rest.isEmpty {
                guard rest.first == ":" else { return nil }
                port = rest.dropFirst()
            }
            guard host.contains(":") else { return nil }
        } else if let colon = text.firstIndex(of: ":") {
            host = text[..<colon]
            port = text[text.index(after: colon)...]
        }
        let isHost = host.utf8.allSatisfy { (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "/") }
        guard !host.isEmpty, isHost else { return nil }
        self.init(host: String(host), port: Self.defaultPort)
        guard let port else { return }
        let isNumber = port.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        guard isNumber, let number = UInt16(port), number > 0 else { return nil }
        self.port = Int(number)
    }

    package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
