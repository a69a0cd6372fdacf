package import MessageModel
package import NIOCore

/// What a load balancer says about a connection that it passes on: the PROXY protocol, versions 1 and 2.
package struct ProxyHeader: Equatable, Sendable {
    /// Where the client is; nil where the balancer does not know, or opened the connection for itself.
    package var client: SocketAddress?
    /// Where the client connected to.
    package var destination: SocketAddress?

    package init(client: SocketAddress? = nil, destination: SocketAddress? = nil) {
        self.client = client
        self.destination = destination
    }

    /// Of version 1, the line end included (§2.1).
    static let longestLine = 107
    /// Of version 2, without its first 16 bytes. The longest addresses take 216; the rest is for what is told besides.
    static let longestBlock = 4_096
    /// What a header takes at most.
    package static let longest = 16 + longestBlock

    /// How a header of version 2 begins (§2.2).
    private static let signature: [UInt8] = [
        0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A,
    ]
    private static let word = Array("PROXY ".utf8)

    /// What a header may be so far.
    package enum Reading: Equatable {
        case complete(ProxyHeader, length: Int)
        case needsMore
    }

    /// Reads the header that a connection begins with.
    /// - Throws: `malformed` as soon as what is there cannot be one.
    package static func read(_ bytes: UnsafeRawBufferPointer) throws(SluiceError) -> Reading {
        if bytes.starts(with: signature) { return try readBlock(bytes) }
        if bytes.starts(with: word) { return try readLine(bytes) }
        guard signature.starts(with: bytes) || word.starts(with: bytes) else {
            throw malformed("the connection does not begin with a PROXY header")
        }
        return .needsMore
    }

    private static func malformed(_ why: String) -> SluiceError { SluiceError(.malformed, why) }

    // MARK: Version 1

    /// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n`
    private static func readLine(_ bytes: UnsafeRawBufferPointer) throws(SluiceError) -> Reading {
        let first = bytes.prefix(longestLine)
        guard let end = first.firstIndex(of: 0x0A) else {
            guard first.count < longestLine else { throw malformed("the PROXY line has no end") }
            return .needsMore
        }
        guard bytes[end - 1] == 0x0D else { throw malformed("the PROXY line does not end with CR and LF") }
        let text = String(decoding: bytes[..<(end - 1)], as: UTF8.self)
        let parts = text.split(separator: " ", omittingEmptySubsequences: false)
        if parts.count >= 2, parts[1] == "UNKNOWN" { return .complete(ProxyHeader(), length: end + 1) }
        guard parts.count == 6 else { throw malformed("the PROXY line does not have six parts") }
        let family: NIOBSDSocket.ProtocolFamily
        switch parts[1] {
        case "TCP4": family = .inet
        case "TCP6": family = .inet6
        default: throw malformed("the PROXY line names no protocol that is known")
        }
        let header = ProxyHeader(
            client: try address(parts[2], parts[4], family),
            destination: try address(parts[3], parts[5], family)
        )
        return .complete(header, length: end + 1)
    }

    private static func address(
        _ host: Substring,
        _ port: Substring,
        _ family: NIOBSDSocket.ProtocolFamily
    ) throws(SluiceError) -> SocketAddress {
        guard let number = UInt16(port), port.first != "+", port == "0" || port.first != "0",
            let address = try? SocketAddress(ipAddress: String(host), port: Int(number)), address.protocol == family
        else { throw malformed("the PROXY line has no address where one belongs") }
        return address
    }

    // MARK: Version 2

    private static func readBlock(_ bytes: UnsafeRawBufferPointer) throws(SluiceError) -> Reading {
        guard bytes.count >= 16 else { return .needsMore }
        let length = Int(bytes[14]) << 8 | Int(bytes[15])
        guard bytes[12] >> 4 == 2 else { throw malformed("the PROXY header has version \(bytes[12] >> 4)") }
        guard length <= longestBlock else { throw malformed("the PROXY header has \(length) bytes") }
        guard bytes.count >= 16 + length else { return .needsMore }
        let whole = UnsafeRawBufferPointer(rebasing: bytes[..<(16 + length)])
        let header: ProxyHeader
        var rest = 16
        switch (bytes[12] & 0x0F, bytes[13]) {
        case (0, _):
            // The balancer's own connection, to see whether this server lives: addresses, if any, mean nothing (§2.2).
            header = ProxyHeader()
            rest = whole.count
        case (1, 0x11):
            header = try addresses(whole, size: 4)
            rest += 12
        case (1, 0x21):
            header = try addresses(whole, size: 16)
            rest += 36
        case (1, _):
            // Datagrams and local sockets: nothing that a client of a port can have.
            header = ProxyHeader()
            rest = whole.count
        default: throw malformed("the PROXY header has command \(bytes[12] & 0x0F)")
        }
        try checkValues(whole, from: rest)
        return .complete(header, length: whole.count)
    }

    private static func addresses(_ bytes: UnsafeRawBufferPointer, size: Int) throws(SluiceError) -> ProxyHeader {
        guard bytes.count >= 16 + 2 * size + 4 else {
            throw malformed("the PROXY header is too short for its addresses")
        }
        func address(_ index: Int) throws(SluiceError) -> SocketAddress {
            let start = 16 + index * size
            let port = 16 + 2 * size + 2 * index
            let packed = ByteBuffer(bytes: bytes[start..<(start + size)])
            let number = Int(bytes[port]) << 8 | Int(bytes[port + 1])
            guard let address = try? SocketAddress(packedIPAddress: packed, port: number) else {
                throw malformed("the PROXY header has no address where one belongs")
            }
            return address
        }
        return ProxyHeader(client: try address(0), destination: try address(1))
    }

    /// Goes through what stands behind the addresses; a checksum that is there must be right (§2.2.3).
    private static func checkValues(_ bytes: UnsafeRawBufferPointer, from start: Int) throws(SluiceError) {
        let checksumType: UInt8 = 0x03
        var position = start
        while position < bytes.count {
            guard bytes.count - position >= 3 else { throw malformed("the PROXY header ends in the middle of a value") }
            let length = Int(bytes[position + 1]) << 8 | Int(bytes[position + 2])
            let value = position + 3
            guard bytes.count - value >= length else {
                throw malformed("the PROXY header ends in the middle of a value")
            }
            if bytes[position] == checksumType {
                guard length == 4 else { throw malformed("the PROXY header's checksum has \(length) bytes") }
                var copy = Array(bytes)
                let said = copy[value..<(value + 4)].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
                for index in value..<(value + 4) { copy[index] = 0 }
                guard copy.withUnsafeBytes({ Checksum.crc32c($0) }) == said else {
                    throw malformed("the PROXY header's checksum is wrong")
                }
            }
            position = value + length
        }
    }
}
