import StorageEngine

/// What can wait longer than a sync.
enum BackgroundRequest: Sendable {
    case read(SegmentFile, offset: Int, length: Int, token: UInt64)
    case readFile(String, offset: Int, length: Int, token: UInt64)
    /// An answer that is known already, given in the way of all others.
    case answer(DeviceEvent)
    case warmCache(SegmentFile, from: Int)
    /// Zeros in front of the log, in a segment whose blocks were not written before.
    case fill(SegmentFile, Range<Int>)
    case createSegment(UInt64, size: Int, isAhead: Bool)
    case removeSegment(UInt64, size: Int)
    case writeFile(String, [UInt8], token: UInt64)
    case removeFile(String)
}

/// The background thread's requests and answers. Reads are served as they come in; the rest is kept for later.
struct BackgroundInbox {
    /// Answers are handed over together up to this size; more would make the first reader wait for the last one's disk.
    private static let answerBytes = 1 << 20

    let requests: Handover<BackgroundRequest>
    let sideFiles: SideFiles
    let onEvents: @Sendable ([DeviceEvent]) -> Void
    private var arrived: [BackgroundRequest] = []
    /// In their order; few at any time.
    private var later: [BackgroundRequest] = []
    private var answers: [DeviceEvent] = []
    private var answeredBytes = 0

    init(
        requests: Handover<BackgroundRequest>,
        sideFiles: SideFiles,
        onEvents: @escaping @Sendable ([DeviceEvent]) -> Void
    ) {
        self.requests = requests
        self.sideFiles = sideFiles
        self.onEvents = onEvents
    }

    /// Waits until there is something to do, and serves the reads among it.
    /// - Returns: false at the end: nothing is left, and nothing can come.
    mutating func serve() -> Bool {
        if later.isEmpty {
            guard requests.take(into: &arrived) else { return false }
        } else {
            requests.takeWaiting(into: &arrived)
        }
        serveArrived()
        return true
    }

    /// Serves the reads that have come in, in the middle of longer work.
    mutating func serveReads() {
        requests.takeWaiting(into: &arrived)
        serveArrived()
        deliver()
    }

    /// The next of what was kept for later.
    mutating func next() -> BackgroundRequest? {
        later.isEmpty ? nil : later.removeFirst()
    }

    mutating func answer(_ event: DeviceEvent) {
        answers.append(event)
        if case .read(_, .success(let bytes)) = event { answeredBytes += bytes.count }
        if answeredBytes >= Self.answerBytes { deliver() }
    }

    mutating func deliver() {
        guard !answers.isEmpty else { return }
        onEvents(answers)
        answers.removeAll(keepingCapacity: true)
        answeredBytes = 0
    }

    private mutating func serveArrived() {
        for request in arrived {
            switch request {
            case .read(let segment, let offset, let length, let token):
                answer(read(segment, offset: offset, length: length, token: token))
            case .readFile(let name, let offset, let length, let token):
                answer(readFile(name, offset: offset, length: length, token: token))
            case .answer(let event):
                answer(event)
            case .warmCache, .fill, .createSegment, .removeSegment, .writeFile, .removeFile:
                later.append(request)
            }
        }
        arrived.removeAll(keepingCapacity: true)
    }

    private func read(_ segment: SegmentFile, offset: Int, length: Int, token: UInt64) -> DeviceEvent {
        guard offset >= 0, length >= 0 else {
            let failure = DeviceError(.failed, "cannot read \(length) bytes at \(offset) of segment \(segment.number)")
            return .read(token: token, .failure(failure))
        }
        do throws(SystemError) {
            let length = min(length, max(segment.size - offset, 0))
            return .read(token: token, .success(try segment.file.read(at: offset, length: length)))
        } catch {
            return .read(token: token, .failure(error.deviceError))
        }
    }

    private func readFile(_ name: String, offset: Int, length: Int, token: UInt64) -> DeviceEvent {
        do throws(SystemError) {
            return .read(token: token, .success(try sideFiles.read(name, offset: offset, length: length)))
        } catch {
            return .read(token: token, .failure(error.deviceError))
        }
    }
}
