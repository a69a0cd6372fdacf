import NIOCore
import NIOEmbedded
import Testing

@testable import Transport

private final class Reader: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    var text = ""

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { text += String(buffer: unwrapInboundIn(data)) }
}

@Suite struct PortSwitchTests {
    /// What was chosen, and what came to the handler that was added then.
    private func chosen(_ parts: [String]) throws -> (PortSwitch.Choice?, String) {
        let channel = EmbeddedChannel()
        let reader = Reader()
        var choice: PortSwitch.Choice?
        try channel.pipeline.syncOperations.addHandler(
            PortSwitch(path: "/mqtt", timeout: .seconds(5)) { chosen, channel in
                #expect(choice == nil)
                choice = chosen
                if chosen != .neither { try channel.pipeline.syncOperations.addHandler(reader) }
            }
        )
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        for part in parts { try channel.writeInbound(ByteBuffer(string: part)) }
        let result = (choice, reader.text)
        _ = try? channel.finish()
        return result
    }

    @Test(
        "the first request says which protocol it is, however it is cut",
        arguments: [
            ("GET /mqtt HTTP/1.1\r\n", PortSwitch.Choice.path), ("GET /mqtt?a=b HTTP/1.1\r\n", .path),
            ("GET /mqttx HTTP/1.1\r\n", .other), ("GET /mqtt/x HTTP/1.1\r\n", .other),
            ("POST /mqtt HTTP/1.1\r\n", .other),
            ("GET /v1/topics HTTP/1.1\r\n", .other), ("nonsense", .other),
        ]
    )
    func choices(request: String, expected: PortSwitch.Choice) throws {
        for cut in 0...request.count {
            let (choice, text) = try chosen([String(request.prefix(cut)), String(request.dropFirst(cut))])
            #expect(choice == expected)
            #expect(text == request)
        }
    }

    @Test("a connection that ends before it has said what it is gets no handlers")
    func endsEarly() throws {
        let channel = EmbeddedChannel()
        var choices: [PortSwitch.Choice] = []
        try channel.pipeline.syncOperations.addHandler(
            PortSwitch(path: "/mqtt", timeout: .seconds(5)) { choice, _ in choices.append(choice) }
        )
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try channel.writeInbound(ByteBuffer(string: "GET /mq"))
        #expect(choices.isEmpty)
        _ = try channel.finish()
        #expect(choices == [.neither])
    }

    @Test("a connection that says nothing is closed in time")
    func timeout() throws {
        let channel = EmbeddedChannel()
        try channel.pipeline.syncOperations.addHandler(PortSwitch(path: "/mqtt", timeout: .seconds(5)) { _, _ in })
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        channel.embeddedEventLoop.advanceTime(by: .seconds(4))
        #expect(channel.isActive)
        channel.embeddedEventLoop.advanceTime(by: .seconds(1))
        #expect(!channel.isActive)
    }
}
