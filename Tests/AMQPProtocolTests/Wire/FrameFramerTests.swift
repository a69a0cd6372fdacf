import Testing

@testable import AMQPProtocol

@Suite("Frame framer")
struct FrameFramerTests {
    func next(_ bytes: [UInt8], maximum: UInt32 = 4_096) -> FrameFramer.Result {
        bytes.withUnsafeBytes { FrameFramer(frameMaximum: maximum).next($0) }
    }

    @Test("a frame is asked for byte by byte until it is whole")
    func splitting() {
        let whole = frame(3, channel: 513, [UInt8](repeating: 7, count: 300))
        for count in 0..<whole.count {
            guard case .needMore(let total) = next(Array(whole[..<count])) else {
                Issue.record("\(count) bytes are no frame")
                return
            }
            #expect(total > count && total <= whole.count)
        }
        let expected = Frame(type: 3, channel: 513, payloadLength: 300)
        #expect(next(whole) == .frame(expected))
        #expect(next(whole + [0xFF]) == .frame(expected))
    }

    @Test("a length beyond the frame size is refused before the payload has arrived")
    func hostileLength() {
        for size in [UInt32(4_097), 1 << 31, .max] {
            guard case .invalid(let error) = next([1, 0, 1] + integer(size)) else {
                Issue.record("\(size) was accepted")
                continue
            }
            #expect(error.code == .frameError)
            #expect(error.text.contains("frame_too_large,\(size),4088"))
        }
        // Eight bytes too many are forgiven, as RabbitMQ does.
        #expect(next([3, 0, 1] + integer(UInt32(4_096))) == .needMore(total: 4_104))
    }

    @Test("a wrong frame end is 501, with what stood there")
    func frameEnd() {
        var bytes = frame(1, [0, 10, 0, 11])
        bytes[bytes.count - 1] = 0x41
        guard case .invalid(let error) = next(bytes) else {
            Issue.record("accepted")
            return
        }
        #expect(
            error.text
                == "FRAME_ERROR - type 1, all octets = <<0,10,0,11>>: {invalid_frame_end_marker,65}"
        )
    }

    @Test("a protocol header is judged as soon as it can be", arguments: 0..<8)
    func protocolHeader(_ count: Int) {
        let judge = { (bytes: [UInt8]) in bytes.withUnsafeBytes { ProtocolHeader.judge($0) } }
        #expect(judge(Array(ProtocolHeader.bytes[..<count])) == .needMore)
        #expect(judge(ProtocolHeader.bytes) == .accepted)
        var other = ProtocolHeader.bytes
        other[count] ^= 0x40
        #expect(judge(Array(other[...count])) == .refused)
    }
}
