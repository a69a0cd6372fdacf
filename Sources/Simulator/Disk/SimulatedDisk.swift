package import StorageEngine

/// A disk in memory that keeps, of what was not synced, as little or as much as a seed decides when it crashes.
///
/// What takes long waits until `completeNext()`. What happened is kept in `history`, from which the disk is rebuilt as a
/// crash after any operation would have left it. The same seed and the same requests give the same disk.
package final class SimulatedDisk: LogDevice {
    /// In which order requests are completed. Those that concern one side file keep theirs.
    package enum CompletionOrder: Sendable {
        case fifo
        /// As the seed decides.
        case shuffled
    }

    private enum Request {
        case segment(UInt64)
        case refused(DeviceEvent)
        case sync(token: UInt64, writes: UInt64)
        /// What is read is decided when the request is made.
        case read(token: UInt64, Result<[UInt8], DeviceError>)
        case writeFile(String, token: UInt64)
        case readFile(String, offset: Int, length: Int, token: UInt64)
        case removeFile(String)

        /// The file whose requests keep their order.
        var file: String? {
            switch self {
            case .writeFile(let name, _), .removeFile(let name): return name
            case .segment, .refused, .sync, .read, .readFile: return nil
            }
        }
    }

    package var faults = DiskFaults()
    package var order: CompletionOrder
    /// What has happened to the disk since it was made.
    package private(set) var history: [DiskOperation] = []

    /// The disk as it was before its history.
    private let base: DiskImage
    private var image: DiskImage
    private var generator: SeededGenerator
    private var requests: [Request] = []
    private let keepsHistory: Bool
    /// The image after some first operations, from which later prefixes are reached faster.
    private var replayed: (count: Int, image: DiskImage)

    /// - Parameter keepsHistory: false for long simulations, whose writes would all stay in memory.
    package convenience init(seed: UInt64, order: CompletionOrder = .shuffled, keepsHistory: Bool = true) {
        self.init(DiskImage(), SeededGenerator(seed: seed), order, keepsHistory)
    }

    private init(_ image: DiskImage, _ generator: SeededGenerator, _ order: CompletionOrder, _ keepsHistory: Bool) {
        base = image
        self.image = image
        replayed = (0, image)
        self.generator = generator
        self.order = order
        self.keepsHistory = keepsHistory
    }

    private func apply(_ operation: DiskOperation) {
        image.apply(operation)
        if keepsHistory { history.append(operation) }
    }
}

// MARK: - Completion

extension SimulatedDisk {
    /// Requests that wait for completion.
    package var inFlight: Int { requests.count }

    /// Completes one request and returns its answer; nil where none waits.
    package func completeNext() -> DeviceEvent? {
        while !requests.isEmpty {
            if let event = complete(requests.remove(at: chooseRequest())) { return event }
        }
        return nil
    }

    package func completeAll() -> [DeviceEvent] {
        var events: [DeviceEvent] = []
        while let event = completeNext() { events.append(event) }
        return events
    }

    private func chooseRequest() -> Int {
        guard order == .shuffled else { return 0 }
        let chosen = Int.random(in: 0..<requests.count, using: &generator)
        guard let file = requests[chosen].file else { return chosen }
        return requests.firstIndex { $0.file == file } ?? chosen
    }

    private func complete(_ request: Request) -> DeviceEvent? {
        switch request {
        case .refused(let event):
            return event
        case .segment(let number):
            apply(.finishedSegment(number))
            return .segmentReady(segment: number, nil)
        case .sync(let token, let writes):
            if faults.sync.strikes() {
                apply(.failedSync(writes: writes))
                return .synced(token: token, Self.failure("sync"))
            }
            apply(.synced(writes: writes))
            return .synced(token: token, nil)
        case .read(let token, let result):
            return .read(token: token, result)
        case .writeFile(let name, let token):
            if faults.writeFile.strikes() {
                apply(.failedFile(name))
                return .fileWritten(token: token, Self.failure("write side file \(name)"))
            }
            apply(.finishedFile(name))
            return .fileWritten(token: token, nil)
        case .readFile(let name, let offset, let length, let token):
            return .read(token: token, readResult(file: name, offset: offset, length: length))
        case .removeFile(let name):
            apply(.removedFile(name))
            return nil
        }
    }

    private func readResult(file name: String, offset: Int, length: Int) -> Result<[UInt8], DeviceError> {
        guard !faults.read.strikes() else { return .failure(Self.failure("read side file \(name)")) }
        guard let bytes = image.files[name] else {
            return .failure(DeviceError(.notFound, "there is no side file \(name)"))
        }
        guard offset >= 0, length >= 0 else { return .failure(Self.outside("side file \(name)")) }
        return .success(Array(bytes.dropFirst(offset).prefix(length)))
    }

    private static func failure(_ attempt: String) -> DeviceError {
        DeviceError(.failed, "cannot \(attempt): simulated input/output error")
    }

    private static func outside(_ what: String) -> DeviceError {
        DeviceError(.failed, "the range lies outside of \(what)")
    }
}

// MARK: - Ends and damage

extension SimulatedDisk {
    /// The disk that is found after the machine has lost its power at this moment. This one is not changed.
    package func crashed(seed: UInt64, style: CrashStyle = .any) -> SimulatedDisk {
        var generator = SeededGenerator(seed: seed)
        return SimulatedDisk(image.afterCrash(style, &generator), generator, order, keepsHistory)
    }

    /// The disk that a new process opens after this one has been killed at this moment: everything written is there,
    /// and durable, because a device syncs what it finds before anything is read.
    package func killed(seed: UInt64) -> SimulatedDisk {
        var generator = SeededGenerator(seed: seed)
        return SimulatedDisk(image.afterKill(&generator), generator, order, keepsHistory)
    }

    /// The disk that is found after a crash behind the first so many operations of the history. Going through the
    /// prefixes in their order is fast.
    package func diskAfter(prefix count: Int, seed: UInt64, style: CrashStyle = .any) -> SimulatedDisk {
        precondition(count >= 0 && count <= history.count, "the history has \(history.count) operations")
        if replayed.count > count { replayed = (0, base) }
        for operation in history[replayed.count..<count] { replayed.image.apply(operation) }
        replayed.count = count
        var generator = SeededGenerator(seed: seed)
        return SimulatedDisk(replayed.image.afterCrash(style, &generator), generator, order, keepsHistory)
    }

    /// Inverts one bit of what is durable. What was not synced of the segment is durable afterwards.
    package func flipBit(segment: UInt64, offset: Int, bit: Int) {
        damage(segment: segment) { $0[offset] ^= 1 << UInt8(bit & 7) }
    }

    package func flipBit(file: String, offset: Int, bit: Int) {
        damage(file: file) { $0[offset] ^= 1 << UInt8(bit & 7) }
    }

    /// Changes a segment in any way: bytes, order of sectors, length. What was not synced of it is durable afterwards.
    package func damage(segment: UInt64, _ change: (inout [UInt8]) -> Void) {
        guard var bytes = image.segments[segment]?.visible.allBytes else { return }
        change(&bytes)
        apply(.damagedSegment(segment, bytes: bytes))
    }

    package func damage(file: String, _ change: (inout [UInt8]) -> Void) {
        guard var bytes = image.files[file] else { return }
        change(&bytes)
        apply(.damagedFile(file, bytes: bytes))
    }

    package func lose(segment: UInt64) { apply(.damagedSegment(segment, bytes: nil)) }
    package func lose(file: String) { apply(.damagedFile(file, bytes: nil)) }

    /// What of a segment a crash cannot take away; nil where there is no such segment.
    package func durableBytes(segment: UInt64) -> [UInt8]? { image.segments[segment]?.durable.allBytes }
}

// MARK: - LogDevice

extension SimulatedDisk {
    package func listSegmentsNow() throws(DeviceError) -> [DeviceSegment] {
        image.segments.filter { $0.value.isReady }.map { DeviceSegment(number: $0.key, size: $0.value.size) }
            .sorted { $0.number < $1.number }
    }

    private func segmentThatIsReady(_ number: UInt64) throws(DeviceError) -> SimulatedSegment {
        guard let segment = image.segments[number], segment.isReady else {
            throw DeviceError(.notFound, "there is no segment \(number)")
        }
        return segment
    }

    package func readNow(
        segment number: UInt64,
        offset: Int,
        into bytes: UnsafeMutableRawBufferPointer
    ) throws(DeviceError) -> Int {
        let segment = try segmentThatIsReady(number)
        guard offset >= 0 else { throw Self.outside("segment \(number)") }
        guard !faults.read.strikes() else { throw Self.failure("read segment \(number)") }
        return segment.visible.read(at: offset, into: bytes)
    }

    package func listFilesNow() throws(DeviceError) -> [String] { image.files.keys.sorted() }

    package func readFileNow(_ name: String) throws(DeviceError) -> [UInt8]? {
        guard !faults.read.strikes() else { throw Self.failure("read side file \(name)") }
        return image.files[name]
    }

    package func createSegment(_ segment: UInt64, size: Int, isAhead: Bool) {
        guard size > 0, image.segments[segment] == nil else {
            let error = DeviceError(.failed, "cannot make segment \(segment): it exists, or has no size")
            return requests.append(.refused(.segmentReady(segment: segment, error)))
        }
        guard !faults.createSegment.strikes(), size <= faults.capacity - image.usedBytes else {
            let error = DeviceError(.full, "cannot make segment \(segment): no space is left")
            return requests.append(.refused(.segmentReady(segment: segment, error)))
        }
        let reused = generator.percent(50) ? image.reusableSegment(size: size) : nil
        apply(.startedSegment(segment, size: size, reused: reused))
        requests.append(.segment(segment))
    }

    package func removeSegment(_ segment: UInt64) {
        if image.segments[segment]?.isReady == true { apply(.removedSegment(segment)) }
    }

    package func write(_ bytes: UnsafeRawBufferPointer, segment number: UInt64, offset: Int) throws(DeviceError) {
        let size = try segmentThatIsReady(number).size
        guard offset >= 0, offset <= size, bytes.count <= size - offset else {
            throw Self.outside("segment \(number)")
        }
        if faults.write.strikes() {
            let part = Int.random(in: 0...bytes.count, using: &generator)
            apply(.wrote(segment: number, offset: offset, bytes: Array(bytes[..<part])))
            throw Self.failure("write to segment \(number)")
        }
        apply(.wrote(segment: number, offset: offset, bytes: Array(bytes)))
    }

    package func sync(token: UInt64) {
        requests.append(.sync(token: token, writes: image.writes))
    }

    package func read(segment number: UInt64, offset: Int, length: Int, token: UInt64) {
        do throws(DeviceError) {
            let segment = try segmentThatIsReady(number)
            guard offset >= 0, length >= 0 else { throw Self.outside("segment \(number)") }
            guard !faults.read.strikes() else { throw Self.failure("read segment \(number)") }
            requests.append(.read(token: token, .success(segment.visible.bytes(at: offset, length: length))))
        } catch {
            requests.append(.read(token: token, .failure(error)))
        }
    }

    package func writeFile(_ name: String, bytes: [UInt8], token: UInt64) {
        guard bytes.count <= faults.capacity - image.usedBytes else {
            let error = DeviceError(.full, "cannot write side file \(name): no space is left")
            return requests.append(.refused(.fileWritten(token: token, error)))
        }
        apply(.startedFile(name, bytes: bytes))
        requests.append(.writeFile(name, token: token))
    }

    package func readFile(_ name: String, offset: Int, length: Int, token: UInt64) {
        requests.append(.readFile(name, offset: offset, length: length, token: token))
    }

    package func removeFile(_ name: String) {
        requests.append(.removeFile(name))
    }

    package func space() -> DeviceSpace? {
        // A fault that takes all room at once is met by asking for some.
        guard faults.capacity > 0, faults.capacity < .max else { return nil }
        return DeviceSpace(total: faults.capacity, available: max(0, faults.capacity - image.usedBytes))
    }
}
