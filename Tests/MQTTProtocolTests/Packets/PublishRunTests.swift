import NIOCore
import Testing

@testable import MQTTProtocol

@Suite("Messages that are encoded once for many")
struct PublishRunTests {
    private func encoded(_ payloads: [[UInt8]], _ version: ProtocolVersion, _ qos: QoS, _ topic: String) -> PublishRun?
    {
        var run = PublishRun()
        let isEncoded = Array(topic.utf8).withUnsafeBytes { topic in
            // Each payload is lent for as long as it is read.
            let kept = payloads.map { payload in
                let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, payload.count), alignment: 1)
                copy.copyBytes(from: payload)
                return copy
            }
            defer { for copy in kept { copy.deallocate() } }
            return run.encode(payloads.count, version: version, qos: qos, isRetained: true, topic: topic) { index in
                UnsafeRawBufferPointer(rebasing: kept[index][..<payloads[index].count])
            }
        }
        return isEncoded ? run : nil
    }

    /// Sends messages that nobody else gets.
    private func send(
        _ payloads: [[UInt8]],
        _ qos: QoS,
        _ topic: String,
        to machine: inout MQTTConnectionStateMachine,
        _ output: inout ByteBuffer
    ) -> Int {
        let whole = payloads.flatMap { $0 }
        return Array(topic.utf8).withUnsafeBytes { topic in
            whole.withUnsafeBytes { whole in
                machine.send(
                    payloads.count,
                    qos: qos,
                    isRetained: true,
                    topic: topic,
                    output: &output
                ) { _ in
                    (7, 0)
                } payload: { index in
                    let start = payloads[..<index].reduce(0) { $0 + $1.count }
                    return UnsafeRawBufferPointer(rebasing: whole[start..<start + payloads[index].count])
                }
            }
        }
    }

    @Test("a run is what its messages are one by one")
    func oneByOne() throws {
        let payloads: [[UInt8]] = [[], [1], Array(repeating: 2, count: 130), Array(repeating: 3, count: 20_000)]
        for version in ProtocolVersion.allCases {
            for qos in QoS.allCases {
                let run = try #require(encoded(payloads, version, qos, "a/b"))
                var together = Transcript.connected(version).machine
                var apart = together
                var buffer = ByteBuffer(bytes: [9, 9])
                #expect(together.send(run, token: 7, output: &buffer) == payloads.count)
                var expected = ByteBuffer(bytes: [9, 9])
                for payload in payloads {
                    payload.withUnsafeBytes { payload in
                        Array("a/b".utf8).withUnsafeBytes { topic in
                            let message = OutboundPublish(
                                version: version,
                                qos: qos,
                                isRetained: true,
                                topicRest: topic,
                                payload: payload
                            )
                            _ = apart.send(message, token: 7, output: &expected)
                        }
                    }
                }
                #expect(buffer == expected)
                #expect(together.inFlightTokens == apart.inFlightTokens)
                var alone = Transcript.connected(version).machine
                buffer = ByteBuffer(bytes: [9, 9])
                #expect(send(payloads, qos, "a/b", to: &alone, &buffer) == payloads.count)
                #expect(buffer == expected)
                #expect(alone.inFlightTokens == apart.inFlightTokens)
            }
        }
    }

    @Test("as many are sent as the window has room for, and nothing where one is too large")
    func limits() throws {
        let run = try #require(encoded([[1], [2], [3]], .v5, .atLeastOnce, "t"))
        var client = Transcript.connected(.v5) { $0.properties.receiveMaximum = 2 }.machine
        var buffer = ByteBuffer()
        #expect(client.send(run, token: 1, output: &buffer) == 2)
        #expect(hexText(buffer.readableBytesView) == "33 07 00 01 74 00 01 00 01 33 07 00 01 74 00 02 00 02")
        #expect(client.send(run, token: 1, output: &buffer) == 0)
        #expect(send([[1]], .atLeastOnce, "t", to: &client, &buffer) == 0)
        var small = Transcript.connected(.v5) { $0.properties.maximumPacketSize = 100 }.machine
        buffer.clear()
        let large = try #require(encoded([[1], Array(repeating: 2, count: 100)], .v5, .atLeastOnce, "t"))
        #expect(small.send(large, token: 1, output: &buffer) == 0)
        #expect(send([[1], Array(repeating: 2, count: 100)], .atLeastOnce, "t", to: &small, &buffer) == 0)
        #expect(buffer.readableBytes == 0)
    }

    @Test("a name that is too long for MQTT is not encoded")
    func tooLong() {
        #expect(encoded([[1]], .v5, .atMostOnce, String(repeating: "a", count: 65_536)) == nil)
    }
}
