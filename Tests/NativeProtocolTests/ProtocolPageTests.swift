import Foundation
import MessageModel
import NIOCore
import NativeProtocol
import Testing

/// docs/native-protocol.md says what the code does.
@Suite("The protocol's page")
struct ProtocolPageTests {
    private static let pagePath = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "docs/native-protocol.md")

    private func page() throws -> String { try String(contentsOf: Self.pagePath, encoding: .utf8) }

    private static func hex(_ value: UInt16) -> String {
        let digits = String(value, radix: 16, uppercase: true)
        return "0x" + String(repeating: "0", count: 4 - digits.count) + digits
    }

    private static func kind(_ opcode: Opcode) -> String {
        switch opcode {
        case .produceAck, .deliver, .detached, .consumerChanged, .topicNamed, .transactionCheck: "push"
        case .credit: "credit"
        case .ping: "ping, pong"
        case .cancel: "cancel"
        case .goaway: "goaway"
        case .produce: "request, one-way"
        default: "request"
        }
    }

    static let statusRows = ErrorCode.allCases.map {
        "| \(hex($0.rawValue)) | `\($0.rendering.name)` | \($0.rendering.title) |"
    }

    static let opcodeRows = Opcode.allCases.map {
        "| \(hex($0.rawValue)) | \($0.name) | \(kind($0)) | \($0.version) |"
    }

    /// The frames of the page's example, as the codec makes them.
    static let example: [(title: String, bytes: [UInt8])] = [
        ("preamble", bytes { Preamble().write(to: &$0) }),
        (
            "HELLO, correlation 1, from a client named \"demo\", version \"1\"",
            bytes {
                $0.writeFrame(FrameHeader(.request, .hello, correlation: 1)) {
                    HelloRequest(clientName: "demo", clientVersion: "1").write(to: &$0)
                }
            }
        ),
        (
            "OPEN_PRODUCER, correlation 2",
            bytes {
                $0.writeFrame(FrameHeader(.request, .openProducer, correlation: 2)) {
                    OpenProducerRequest(address: "orders/eu").write(to: &$0)
                }
            }
        ),
        (
            "the answer: handle 1, topic 5, producer 9, epoch 0, one partition, sequence 0, \"orders\", routing key \"eu\"",
            bytes {
                $0.writeFrame(FrameHeader(.response, .openProducer, correlation: 2)) {
                    ResponseStatus.ok.write(to: &$0)
                    OpenProducerResponse(
                        handle: 1,
                        topic: 5,
                        producer: 9,
                        epoch: 0,
                        partitions: 1,
                        nextSequence: 0,
                        topicName: "orders",
                        hasRoutingKey: true,
                        isAbsolute: false,
                        routingKey: Array("eu".utf8)
                    ).write(to: &$0)
                }
            }
        ),
        (
            "PRODUCE with handle 1 to partition 0, fsynced",
            bytes { buffer in
                let batch = batch(["hi"], routingKey: "eu", producer: 9, born: 1_700_000_000_000_000)
                buffer.writeFrame(FrameHeader(.request, .produce, flags: .oneWay, handle: 1)) {
                    ProduceHead(partition: 0, acknowledgement: .durable).write(to: &$0)
                    $0.writeBytes(batch)
                }
            }
        ),
        (
            "PRODUCE_ACK: sequence 0, one record, offset 41",
            bytes {
                $0.writeFrame(FrameHeader(.push, .produceAck, handle: 1)) {
                    ProduceAck(
                        status: .ok,
                        partition: 0,
                        position: 4_096,
                        runs: [.init(firstSequence: 0, count: 1, baseOffset: 41)]
                    ).write(to: &$0, version: 1)
                }
            }
        ),
    ]

    static var exampleText: String {
        example.map { title, bytes in
            var lines = ["# \(title)"]
            for start in stride(from: 0, to: bytes.count, by: 16) {
                let line = bytes[start..<min(start + 16, bytes.count)].map { byte in
                    (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
                }
                lines.append(line.joined(separator: " "))
            }
            return lines.joined(separator: "\n")
        }.joined(separator: "\n\n")
    }

    @Test("lists every status")
    func statuses() throws {
        let page = try page()
        for row in Self.statusRows { #expect(page.contains(row)) }
    }

    @Test("lists every opcode with its version")
    func opcodes() throws {
        let page = try page()
        for row in Self.opcodeRows { #expect(page.contains(row)) }
    }

    @Test("shows the bytes that the codec makes")
    func exampleBytes() throws {
        let page = try page()
        for part in Self.exampleText.components(separatedBy: "\n\n") { #expect(page.contains(part), "\(part)") }
    }

    @Test("gives the checksum's value for its test string")
    func checksum() {
        #expect(Array("123456789".utf8).withUnsafeBytes { Checksum.crc32c($0) } == 0xE306_9283)
    }

    @Test("lists every property")
    func properties() throws {
        let page = try page()
        for id in (UInt64(1)...100).filter({ PropertyID(rawValue: $0) != nil }) {
            #expect(page.contains("\n| \(id) | "))
        }
    }
}

/// A batch as a producer makes it.
func batch(
    _ bodies: [String],
    routingKey: String? = nil,
    producer: UInt64 = 0,
    sequence: UInt32 = 0,
    born: UInt64 = 1_700_000_000_000_000
) -> [UInt8] {
    var builder = BatchBuilder()
    builder.begin()
    for body in bodies {
        let key = routingKey.map { Array($0.utf8) }
        Array(body.utf8).withUnsafeBytes { body in
            (key ?? []).withUnsafeBytes { keyBytes in
                var fields = RecordFields()
                fields.body = body
                fields.born = Timestamp(rawValue: born)
                if key != nil { fields.routingKey = keyBytes }
                builder.append(fields)
            }
        }
    }
    return builder.finish(producer: ProducerID(rawValue: producer), baseSequence: sequence) { Array($0) }
}
