import StorageEngine
import TestSupport
import Testing

@Suite("Memory device")
struct MemoryDeviceTests {
    @Test("answers are collected in the order of the requests until they are taken")
    func events() throws {
        let device = MemoryDevice()
        device.createSegment(3, size: 1_000, isAhead: true)
        try [1, 2, 3].withUnsafeBytes { try device.write($0, segment: 3, offset: 976) }
        device.sync(token: 1)
        device.read(segment: 3, offset: 976, length: 100, token: 2)
        device.writeFile("a", bytes: [5, 6], token: 3)
        device.readFile("a", offset: 1, length: 100, token: 4)
        let events = device.drainEvents()
        #expect(events.count == 5 && events.allSatisfy { $0.failure == nil })
        #expect(events[0].readySegment == 3)
        #expect(events[1].syncedToken == 1)
        #expect(events[2].readBytes == [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0])
        #expect(events[3].writtenFile == 3)
        #expect(events[4].readBytes == [6])
        #expect(device.drainEvents().isEmpty)
    }

    @Test("ranges outside of a segment and unknown names are refused")
    func refusals() throws {
        let device = MemoryDevice()
        device.createSegment(1, size: 10, isAhead: false)
        device.createSegment(1, size: 10, isAhead: false)
        device.createSegment(2, size: -1, isAhead: false)
        device.read(segment: 1, offset: -1, length: 1, token: 1)
        device.read(segment: 9, offset: 0, length: 1, token: 2)
        device.readFile("missing", offset: 0, length: 1, token: 3)
        #expect(
            device.drainEvents().map { $0.failure?.kind } == [nil, .failed, .failed, .failed, .notFound, .notFound]
        )
        for offset in [-1, 10, 11, Int.max] {
            #expect(throws: DeviceError.self) {
                try [UInt8(1)].withUnsafeBytes { try device.write($0, segment: 1, offset: offset) }
            }
        }
        #expect(try device.bytes(of: 1, offset: 4, length: 100).count == 6)
        #expect(try device.bytes(of: 1, offset: Int.max, length: 100).isEmpty)
    }

    @Test("what is removed makes room for something else")
    func capacity() throws {
        let device = MemoryDevice(capacity: 1_000)
        device.createSegment(1, size: 600, isAhead: false)
        device.createSegment(2, size: 600, isAhead: false)
        device.writeFile("a", bytes: [UInt8](repeating: 1, count: 400), token: 1)
        device.writeFile("a", bytes: [UInt8](repeating: 1, count: 300), token: 2)
        device.writeFile("b", bytes: [UInt8](repeating: 1, count: 200), token: 3)
        #expect(device.drainEvents().map { $0.failure?.kind } == [nil, .full, nil, nil, .full])
        #expect(device.usedBytes == 900)
        device.removeSegment(1)
        device.removeFile("a")
        #expect(device.usedBytes == 0)
        device.createSegment(2, size: 1_000, isAhead: false)
        #expect(device.drainEvents().first?.readySegment == 2)
        #expect(try device.listSegmentsNow() == [DeviceSegment(number: 2, size: 1_000)])
    }
}
