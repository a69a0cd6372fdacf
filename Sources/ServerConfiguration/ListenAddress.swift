/// A host or IP address and a port. Port 0 lets the system choose a free one.
package struct ListenAddress: Sendable, Hashable, CustomStringConvertible {
    /// A name, an IPv4 address, or an IPv6 address without its brackets.
    package var host: String
    package var port: Int

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// `host:port`, an IPv6 address in brackets.
    package var description: String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}

extension ListenAddress {
    /// Reads `host:port` or `[ipv6]:port`.
    init(text: String) throws(ValueProblem) {
        let form = "expected host:port, such as 127.0.0.1:1883 or [::1]:1883"
        guard let colon = text.lastIndex(of: ":") else {
            throw ValueProblem("'\(text)' has no port; \(form)")
        }
        var host = text[..<colon]
        let digits = text[text.index(after: colon)...]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
            guard host.contains(":") else { throw ValueProblem("'\(text)' has no IPv6 address in its brackets") }
        } else if host.contains(":") {
            throw ValueProblem("'\(text)' needs brackets around its IPv6 address; \(form)")
        }
        guard !host.isEmpty else {
            throw ValueProblem("'\(text)' has no host; \(form)", hint: "0.0.0.0 or [::] listens on every interface")
        }
        let permitted = host.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"),
                UInt8(ascii: ":"), UInt8(ascii: "%"):
                true
            default: false
            }
        }
        guard permitted else { throw ValueProblem("'\(host)' is no host name or IP address") }
        guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(digits) else {
            throw ValueProblem("'\(digits)' is no port; ports are 0 to 65535, 0 for any that is free")
        }
        self.init(host: String(host), port: Int(port))
    }
}
