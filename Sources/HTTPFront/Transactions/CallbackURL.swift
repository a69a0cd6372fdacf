/// Where an application is called back: `http://host[:port]/path`.
struct CallbackURL: Equatable, Sendable {
    /// How the owners of transactions begin that are called back.
    static let scheme = "http://"
    private static let defaultPort = 80

    /// A name, an IPv4 address, or an IPv6 address without brackets.
    let host: String
    let port: Int
    /// Path and query.
    let target: String

    /// - Returns: nil where the text is no such address; one with a user or a fragment is none.
    init?(_ text: String) {
        guard text.hasPrefix(Self.scheme) else { return nil }
        // A byte that ends the request line, or begins another, never gets into one.
        guard text.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "#") }) else { return nil }
        let rest = text.dropFirst(Self.scheme.count)
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        let after = rest[authority.endIndex...]
        guard !authority.contains("@") else { return nil }
        var portText: Substring?
        if authority.first == "[" {
            guard let end = authority.firstIndex(of: "]") else { return nil }
            host = authority[authority.index(after: authority.startIndex)..<end].lowercased()
            let behind = authority[authority.index(after: end)...]
            guard behind.isEmpty || behind.first == ":" else { return nil }
            if !behind.isEmpty { portText = behind.dropFirst() }
        } else {
            let parts = authority.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            host = (parts.first ?? "").lowercased()
            if parts.count > 1 { portText = parts[1] }
        }
        guard !host.isEmpty else { return nil }
        if let portText {
            guard let number = UInt16(portText), number > 0 else { return nil }
            port = Int(number)
        } else {
            port = Self.defaultPort
        }
        target = after.first == "/" ? String(after) : "/" + after
    }

    /// Whether the configuration lets the server call it.
    func isPermitted(by addresses: [(host: String, port: Int)]) -> Bool {
        addresses.contains { $0.host.lowercased() == host && ($0.port == 0 || $0.port == port) }
    }
}
