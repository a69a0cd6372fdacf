import MessageModel
import NIOCore
import NativeProtocol
import Testing

/// The generator of the property tests: its seed is in every failure.
struct SplitMix64: RandomNumberGenerator {
    var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

func bytes(_ write: (inout ByteBuffer) -> Void) -> [UInt8] {
    var buffer = ByteBuffer()
    write(&buffer)
    return Array(buffer.readableBytesView)
}

/// Cuts `input` into reads of the given sizes and collects the frames.
func parse(_ input: [UInt8], reads: [Int], limit: Int, preamble: Bool = false) -> (frames: [[UInt8]], invalid: UInt32?)
{
    var parser = FrameParser(expectsPreamble: preamble)
    var frames: [[UInt8]] = []
    var start = 0
    for size in reads {
        let read = Array(input[start..<min(start + size, input.count)])
        start = min(start + size, input.count)
        var invalid: UInt32?
        read.withUnsafeBytes { bytes in
            var position = 0
            while true {
                switch parser.next(bytes, &position, limit: limit) {
                case .preamble(let bytes): frames.append(Array(bytes))
                case .frame(let bytes): frames.append(Array(bytes))
                case .needsMore: return
                case .invalidLength(let length):
                    invalid = length
                    return
                }
            }
        }
        if let invalid { return (frames, invalid) }
    }
    return (frames, nil)
}

@Suite("Frames")
struct FrameParserTests {
    private func frame(_ correlation: UInt32, body: Int) -> [UInt8] {
        bytes {
            $0.writeFrame(FrameHeader(.request, .fetch, correlation: correlation, handle: 7)) {
                $0.writeRepeatingByte(UInt8(truncatingIfNeeded: correlation), count: body)
            }
        }
    }

    @Test("a header is sixteen little-endian bytes")
    func header() {
        let frame = bytes {
            $0.writeFrame(FrameHeader(.push, .produceAck, flags: .tail, correlation: 0x0102_0304, handle: 0x0A0B_0C0D))
            {
                $0.writeU8(0xEE)
            }
        }
        #expect(frame == [13, 0, 0, 0, 2, 4, 0x03, 0x01, 4, 3, 2, 1, 0x0D, 0x0C, 0x0B, 0x0A, 0xEE])
    }

    @Test("frames come out the same however the reads are cut")
    func splitting() {
        let sizes = [0, 1, 300, 5, 70_000, 0, 12, 200_000, 3]
        let frames = sizes.enumerated().map { frame(UInt32($0.offset), body: $0.element) }
        let preamble = bytes { Preamble().write(to: &$0) }
        let input = preamble + frames.flatMap { $0 }
        let whole = parse(input, reads: [input.count], limit: 1 << 20, preamble: true)
        #expect(whole.frames == [preamble] + frames)
        let small = preamble + frames[0] + frames[1] + frames[2] + frames[3]
        let single = parse(small, reads: Array(repeating: 1, count: small.count), limit: 1 << 20, preamble: true)
        #expect(single.frames == [preamble] + frames[0...3])
        for seed in UInt64(1)...40 {
            var random = SplitMix64(seed: seed)
            var reads: [Int] = []
            while reads.reduce(0, +) < input.count { reads.append(Int.random(in: 1...90_000, using: &random)) }
            #expect(
                parse(input, reads: reads, limit: 1 << 20, preamble: true).frames == [preamble] + frames,
                "seed \(seed)"
            )
        }
    }

    @Test("a length below the header or above the limit is refused as soon as it is read")
    func lengths() {
        #expect(parse([11, 0, 0, 0], reads: [4], limit: 100).invalid == 11)
        #expect(parse([101, 0, 0, 0], reads: [1, 1, 1, 1], limit: 100).invalid == 101)
        #expect(parse([0xFF, 0xFF, 0xFF, 0xFF], reads: [2, 2], limit: 100).invalid == 0xFFFF_FFFF)
        #expect(parse([100, 0, 0, 0], reads: [4], limit: 100).invalid == nil)
    }

    @Test("what is carried over grows with what has arrived, not with what was promised")
    func carried() {
        var parser = FrameParser(expectsPreamble: false)
        let start: [UInt8] = [0, 0, 0, 1, 9, 9]
        start.withUnsafeBytes { bytes in
            var position = 0
            guard case .needsMore = parser.next(bytes, &position, limit: 1 << 30) else {
                Issue.record("a frame out of six bytes")
                return
            }
        }
        #expect(parser.carriedBytes == 6)
    }

    @Test("a frame's checksum is checked and cut off")
    func checksum() {
        var frame = bytes {
            $0.writeFrame(FrameHeader(.request, .commit, flags: .checksum, correlation: 1, handle: 2)) {
                CommitRequest(partition: 1, offset: 2).write(to: &$0)
                $0.writeU32(0)
            }
        }
        let crc = frame.dropLast(4).withUnsafeBytes { Checksum.crc32c($0) }
        for shift in 0..<4 { frame[frame.count - 4 + shift] = UInt8(truncatingIfNeeded: crc >> (8 * UInt32(shift))) }
        frame.withUnsafeBytes { bytes in
            let (frame, problem) = Frame.read(bytes)
            #expect(problem == nil)
            let commit = try? frame.decode { CommitRequest(&$0) }
            #expect(commit == CommitRequest(partition: 1, offset: 2))
        }
        frame[20] ^= 1
        frame.withUnsafeBytes { #expect(Frame.read($0).problem == .checksum) }
    }

    @Test("flags that must be understood are refused, others ignored")
    func flags() {
        for (flags, isRefused) in [(0x10, false), (0x20, false), (0x40, true), (0x80, true), (0x01, true)] {
            let frame = bytes {
                $0.writeFrame(FrameHeader(.request, .health, flags: FrameFlags(rawValue: UInt8(flags))))
            }
            frame.withUnsafeBytes { #expect((Frame.read($0).problem != nil) == isRefused) }
        }
    }

    @Test("a tail passes over what may be ignored and stops at what must be understood")
    func tail() {
        func frame(id: UInt16, flags: FrameFlags) -> [UInt8] {
            bytes {
                $0.writeFrame(FrameHeader(.request, .commit, flags: flags)) {
                    CommitRequest(partition: 1, offset: 2).write(to: &$0)
                    Tail.write(id, "value", to: &$0)
                }
            }
        }
        func code(_ bytes: [UInt8]) -> ErrorCode? {
            bytes.withUnsafeBytes { bytes in
                do throws(SluiceError) {
                    _ = try Frame.read(bytes).frame.decode { CommitRequest(&$0) }
                    return nil
                } catch {
                    return error.code
                }
            }
        }
        #expect(code(frame(id: 0x7FFF, flags: .tail)) == nil)
        #expect(code(frame(id: 0x8000, flags: .tail)) == .notSupported)
        #expect(code(frame(id: 0x0001, flags: [])) == .malformed)
        #expect(code(Array(frame(id: 1, flags: .tail).dropLast())) == .malformed)
    }
}
