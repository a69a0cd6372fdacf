import NIOCore
import Testing

@testable import AMQPProtocol

@Suite("Messages to the client")
struct OutboundContentTests {
    func encode(
        _ size: Int,
        frameMaximum: UInt32,
        properties: [UInt8] = [0, 0],
        exchange: [UInt8] = Array("x".utf8)
    ) -> [SentFrame]? {
        var output = ByteBuffer()
        let payload = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
        let isWritten = exchange.withUnsafeBytes { exchange in
            Array("tag".utf8).withUnsafeBytes { tag in
                properties.withUnsafeBytes { properties in
                    payload.withUnsafeBytes { body in
                        OutboundContent(
                            .deliver(consumerTag: tag, deliveryTag: 258, isRedelivered: true),
                            exchange: exchange,
                            routingKey: tag,
                            properties: properties,
                            body: body
                        ).encode(channel: 3, frameMaximum: frameMaximum, into: &output)
                    }
                }
            }
        }
        let bytes = Array(output.readableBytesView)
        guard isWritten else {
            #expect(bytes.isEmpty)
            return nil
        }
        let found = frames(bytes, maximum: frameMaximum - 8)
        #expect(found.reduce(0) { $0 + $1.payload.count + Frame.overhead } == bytes.count)
        return found
    }

    @Test("a body is split where the frame size says", arguments: [0, 1, 91, 92, 93, 184, 185, 1_000])
    func split(_ size: Int) throws {
        let found = try #require(encode(size, frameMaximum: 100))
        let bodies = found.dropFirst(2)
        #expect(bodies.allSatisfy { $0.type == 3 && $0.channel == 3 && $0.payload.count <= 92 })
        #expect(bodies.count == (size + 91) / 92)
        #expect(Array(bodies.map(\.payload).joined()) == (0..<size).map { UInt8(truncatingIfNeeded: $0) })
        #expect(found[1].payload == [0, 60, 0, 0] + integer(UInt64(size)) + [0, 0])
    }

    @Test("basic.deliver is written as the specification lays it out")
    func deliver() throws {
        let found = try #require(encode(0, frameMaximum: 4_096))
        #expect(found.count == 2)
        #expect(
            found[0].payload == [0, 60, 0, 60] + short("tag") + integer(UInt64(258)) + [1] + short("x") + short("tag")
        )
    }

    @Test("names beyond a short string and properties beyond a frame are not written at all")
    func tooLarge() {
        #expect(encode(1, frameMaximum: 4_096, exchange: [UInt8](repeating: 1, count: 256)) == nil)
        #expect(encode(1, frameMaximum: 4_096, properties: [UInt8](repeating: 0, count: 4_077)) == nil)
        #expect(encode(1, frameMaximum: 4_096, properties: [UInt8](repeating: 0, count: 4_076)) != nil)
        #expect(encode(1, frameMaximum: 8) == nil)
    }
}
