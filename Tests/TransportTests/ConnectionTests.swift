import MessageModel
import NIOCore
import NIOEmbedded
import NIOHTTP1
import NIOWebSocket
import Synchronization
import Testing

@testable import Transport

/// Stands for a front: notes what it reads, and who the client is.
private final class Front: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    var text = ""
    var client: ClientAddress?

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { text += String(buffer: unwrapInboundIn(data)) }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? ClientAddress { client = event }
    }
}

private final class Refusals: Sendable {
    let codes = Mutex<[ErrorCode]>([])
}

extension EmbeddedChannel {
    fileprivate func send(_ text: String) throws { try writeInbound(ByteBuffer(string: text)) }

    /// All that was written since.
    fileprivate func written() throws -> [UInt8] {
        var bytes: [UInt8] = []
        while let part = try readOutbound(as: ByteBuffer.self) { bytes += part.readableBytesView }
        return bytes
    }
}

@Suite struct ConnectionTests {
    @Test("the PROXY header goes, and everything behind it comes, however it is cut")
    func proxy() throws {
        let text = "PROXY TCP4 192.0.2.1 192.0.2.2 8080 443\r\nhello"
        for cut in 0...text.utf8.count {
            let front = Front()
            let channel = EmbeddedChannel()
            try channel.pipeline.syncOperations.addHandlers(ProxyProtocolHandler { _, _ in }, front)
            try channel.send(String(text.prefix(cut)))
            try channel.send(String(text.dropFirst(cut)))
            try channel.send(" world")
            #expect(front.text == "hello world")
            #expect(front.client?.address?.ipAddress == "192.0.2.1")
            _ = try channel.finish()
        }
    }

    @Test("a connection without a PROXY header is closed, and the reason told")
    func noProxy() throws {
        let front = Front()
        let refusals = Refusals()
        let channel = EmbeddedChannel()
        try channel.pipeline.syncOperations.addHandlers(
            ProxyProtocolHandler { error, _ in refusals.codes.withLock { $0.append(error.code) } },
            front
        )
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try channel.send("hello")
        #expect(front.text.isEmpty && !channel.isActive)
        #expect(refusals.codes.withLock { $0 } == [.malformed])
    }

    /// A connection that has sent these lines.
    private func connection(_ lines: String..., front: Front, origins: [String] = []) throws -> EmbeddedChannel {
        let channel = EmbeddedChannel()
        let bound = NIOLoopBound(front, eventLoop: channel.eventLoop)
        try channel.pipeline.syncOperations.addHandler(ProxyProtocolHandler { _, _ in })
        var webSocket = WebSocketUpgrade(path: "/mqtt", subprotocols: ["mqtt", "mqttv3.1"], maxFrameBytes: 1 << 16)
        webSocket.origins = origins
        try webSocket.configure(channel) { channel in
            try channel.pipeline.syncOperations.addHandler(bound.value)
        }
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try channel.send("PROXY TCP4 192.0.2.1 192.0.2.2 8080 443\r\n")
        try channel.send(lines.joined(separator: "\r\n") + "\r\n\r\n")
        channel.embeddedEventLoop.run()
        return channel
    }

    private let upgrade = [
        "Host: x", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ].joined(separator: "\r\n")

    private func frame(_ opcode: UInt8, _ text: String, isLast: Bool = true) -> ByteBuffer {
        let mask: [UInt8] = [1, 2, 3, 4]
        let payload = text.utf8.enumerated().map { $1 ^ mask[$0 % 4] }
        return ByteBuffer(bytes: [(isLast ? 0x80 : 0) | opcode, 0x80 | UInt8(payload.count)] + mask + payload)
    }

    @Test("WebSocket frames are bytes to the front, and its writes are frames")
    func webSocket() throws {
        let front = Front()
        let channel = try connection(
            "GET /mqtt?x=1 HTTP/1.1",
            upgrade,
            "Sec-WebSocket-Protocol: other, mqttv3.1, mqtt",
            front: front
        )
        let answer = String(decoding: try channel.written(), as: UTF8.self)
        #expect(answer.hasPrefix("HTTP/1.1 101 "), "\(answer)")
        #expect(answer.lowercased().contains("sec-websocket-protocol: mqtt\r\n"))
        #expect(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
        #expect(front.client?.address?.ipAddress == "192.0.2.1")
        try channel.writeInbound(frame(2, "ab"))
        try channel.writeInbound(frame(2, "c", isLast: false))
        try channel.writeInbound(frame(9, "are you there"))
        try channel.writeInbound(frame(0, "d"))
        #expect(front.text == "abcd")
        #expect(try channel.written() == [0x8A, 13] + Array("are you there".utf8))
        try channel.writeOutbound(ByteBuffer(string: "xyz"))
        #expect(try channel.written() == [0x82, 3] + Array("xyz".utf8))
        try channel.writeInbound(frame(8, "\u{3}\u{9}bye"))
        #expect(try channel.written() == [0x88, 2, 3, 9])
        #expect(!channel.isActive)
    }

    @Test(
        "frames that are wrong end the connection with the reason",
        arguments: [(UInt8(1), UInt16(1003)), (0, 1002)]
    )
    func wrongFrames(opcode: UInt8, code: UInt16) throws {
        let channel = try connection("GET /mqtt HTTP/1.1", upgrade, "Sec-WebSocket-Protocol: mqtt", front: Front())
        _ = try channel.written()
        try channel.writeInbound(frame(opcode, "x"))
        #expect(try channel.written() == [0x88, 2, UInt8(code >> 8), UInt8(code & 0xFF)])
        #expect(!channel.isActive)
    }

    @Test(
        "other requests are answered with what is wrong",
        arguments: [("GET / HTTP/1.1", "mqtt", "404"), ("GET /mqtt HTTP/1.1", "amqp", "400")]
    )
    func refused(line: String, subprotocol: String, status: String) throws {
        let front = Front()
        let channel = try connection(line, upgrade, "Sec-WebSocket-Protocol: \(subprotocol)", front: front)
        let answer = String(decoding: try channel.written(), as: UTF8.self)
        #expect(answer.hasPrefix("HTTP/1.1 \(status) "), "\(answer)")
        #expect(!channel.isActive && front.client == nil)
    }

    @Test(
        "a page of another site may not connect, one of this server may",
        arguments: [
            ("http://x", true), ("https://X", true), ("http://x:1", false), ("http://other", false), ("null", false),
            ("http://app.example", true),
        ]
    )
    func origins(origin: String, isAllowed: Bool) throws {
        let line = "GET /mqtt HTTP/1.1"
        let channel = try connection(
            line,
            upgrade,
            "Origin: \(origin)",
            "Sec-WebSocket-Protocol: mqtt",
            front: Front(),
            origins: ["http://app.example"]
        )
        let answer = String(decoding: try channel.written(), as: UTF8.self)
        #expect(answer.hasPrefix(isAllowed ? "HTTP/1.1 101 " : "HTTP/1.1 403 "), "\(answer)")
        let all = try connection(
            line,
            upgrade,
            "Origin: \(origin)",
            "Sec-WebSocket-Protocol: mqtt",
            front: Front(),
            origins: ["*"]
        )
        #expect(String(decoding: try all.written(), as: UTF8.self).hasPrefix("HTTP/1.1 101 "))
    }

    @Test("a plain request is told to upgrade")
    func plain() throws {
        let channel = try connection("GET /mqtt HTTP/1.1", "Host: x", front: Front())
        let answer = String(decoding: try channel.written(), as: UTF8.self)
        #expect(answer.hasPrefix("HTTP/1.1 426 ") && answer.lowercased().contains("upgrade: websocket"), "\(answer)")
        #expect(!channel.isActive)
    }
}
