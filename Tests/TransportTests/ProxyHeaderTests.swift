import MessageModel
import NIOCore
import Testing

@testable import Transport

/// The fixed part of a header of version 2.
private let signature: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]

private func block(_ command: UInt8, _ family: UInt8, _ rest: [UInt8]) -> [UInt8] {
    signature + [command, family, UInt8(rest.count >> 8), UInt8(rest.count & 0xFF)] + rest
}

private func read(_ bytes: [UInt8]) throws(SluiceError) -> ProxyHeader.Reading {
    let result: Result<ProxyHeader.Reading, SluiceError> = bytes.withUnsafeBytes { bytes in
        do throws(SluiceError) { return .success(try ProxyHeader.read(bytes)) } catch { return .failure(error) }
    }
    return try result.get()
}

private let v4: [UInt8] = [192, 0, 2, 1, 192, 0, 2, 2, 0x1F, 0x90, 0x01, 0xBB]

@Suite struct ProxyHeaderTests {
    @Test(
        "a line of version 1 says who the client is",
        arguments: [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 8080 443\r\n", "192.0.2.1", 8080),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 1 0\r\n", "2001:db8::1", 1),
        ]
    )
    func line(text: String, host: String, port: Int) throws {
        let bytes = Array(text.utf8)
        guard case .complete(let header, let length) = try read(bytes + [1, 2, 3]) else {
            Issue.record("incomplete")
            return
        }
        #expect(length == bytes.count)
        #expect(header.client?.ipAddress == host)
        #expect(header.client?.port == port)
        #expect(header.destination != nil)
        for count in 0..<bytes.count { #expect(try read(Array(bytes[..<count])) == .needsMore) }
    }

    @Test("a block of version 2 says who the client is, as soon as it is whole")
    func block2() throws {
        let bytes = block(0x21, 0x11, v4 + [0x04, 0, 2, 9, 9])
        for count in 0..<bytes.count { #expect(try read(Array(bytes[..<count])) == .needsMore) }
        guard case .complete(let header, let length) = try read(bytes + [7]) else {
            Issue.record("incomplete")
            return
        }
        #expect(length == bytes.count)
        #expect(header.client?.ipAddress == "192.0.2.1" && header.client?.port == 0x1F90)
        #expect(header.destination?.ipAddress == "192.0.2.2" && header.destination?.port == 443)
        let v6 = [UInt8](repeating: 0, count: 15) + [1] + [UInt8](repeating: 0, count: 15) + [2] + [0, 5, 0, 6]
        #expect(
            try read(block(0x21, 0x21, v6))
                == .complete(
                    ProxyHeader(
                        client: try SocketAddress(ipAddress: "::1", port: 5),
                        destination: try SocketAddress(ipAddress: "::2", port: 6)
                    ),
                    length: 52
                )
        )
    }

    @Test(
        "the balancer's own connections, and kinds that are no client's, have no address",
        arguments: [
            Array("PROXY UNKNOWN\r\n".utf8), Array("PROXY UNKNOWN a b c d\r\n".utf8), block(0x20, 0, []),
            block(0x20, 0x11, v4), block(0x21, 0x31, [1, 2]), block(0x21, 0x00, []),
        ]
    )
    func noAddress(bytes: [UInt8]) throws {
        #expect(try read(bytes) == .complete(ProxyHeader(), length: bytes.count))
    }

    @Test("a checksum that is there must be right")
    func checksum() throws {
        var bytes = block(0x21, 0x11, v4 + [0x03, 0, 4, 0, 0, 0, 0])
        let crc = bytes.withUnsafeBytes { Checksum.crc32c($0) }
        for index in 0..<4 { bytes[bytes.count - 4 + index] = UInt8(truncatingIfNeeded: crc >> UInt32(24 - 8 * index)) }
        guard case .complete = try read(bytes) else {
            Issue.record("incomplete")
            return
        }
        bytes[20] ^= 1
        #expect(throws: SluiceError.self) { try read(bytes) }
    }

    @Test(
        "what is no header is refused at the first byte that shows it",
        arguments: [
            [0x10], Array("PROXX".utf8), Array("GET / HTTP/1.1\r\n".utf8),
            Array("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n".utf8),
            Array("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n".utf8), Array("PROXY TCP4 ::1 ::2 1 2\r\n".utf8),
            Array("PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n".utf8), Array("PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n".utf8),
            Array("PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n".utf8), Array("PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n".utf8),
            Array("PROXY ".utf8) + [UInt8](repeating: 0x20, count: 101), block(0x11, 0x11, v4), block(0x22, 0x11, v4),
            block(0x21, 0x11, [1, 2, 3]), block(0x21, 0x11, v4 + [0x04, 0, 9]), block(0x21, 0x11, v4 + [0x04]),
            block(0x21, 0x11, v4 + [0x03, 0, 1, 9]), signature + [0x21, 0x11, 0xFF, 0xFF],
        ]
    )
    func refused(bytes: [UInt8]) {
        #expect(throws: SluiceError.self) { try read(bytes) }
    }
}
