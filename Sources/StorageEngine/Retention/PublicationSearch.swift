internal import MessageModel
internal import StorageService

/// Reads in a key file where the records stand that published messages which had been stored before.
final class PublicationSearch: ColdClient {
    enum Step {
        case waits
        /// The positions that some of the records were first stored at; a record comes once for each of its keys.
        case positions([UInt64])
        case done
    }

    private let file: KeyTable.File
    private var search: KeySearch
    private var isOutstanding = false
    private(set) var hasFailed = false

    init(_ file: KeyTable.File) {
        self.file = file
        search = KeySearch(segment: file.segment, epoch: file.epoch, hash: nil, times: 0 ... .max)
    }

    func step(requests: inout ColdRequests) -> Step {
        guard !isOutstanding else { return .waits }
        guard !hasFailed else { return .done }
        switch search.next() {
        case .read(let offset, let length):
            isOutstanding = true
            requests.readKeys(self, file, offset: offset, length: length)
            return .waits
        case .found(let matches):
            return .positions(matches.map(\.position))
        case .refused:
            hasFailed = true
            return .done
        case .done:
            return .done
        }
    }

    func received(_ result: Result<[UInt8], DeviceError>, shard: Shard) {
        isOutstanding = false
        shard.reclaiming.hasMore = true
        switch result {
        case .success(let bytes): search.received(bytes)
        case .failure: hasFailed = true
        }
    }
}

/// A message that is published later than it is stored is found, by its keys and its id, through the record that published
/// it. Such a record is needed as long as one of its messages is there: it is moved when its segment is emptied, with
/// nothing but what a look-up reads.
extension Shard {
    /// Finds out which of these records in a segment are needed.
    /// - Returns: false where it waits for the device, or for its next turn.
    func surveyPublications(_ survey: SegmentSurvey) -> Bool {
        while survey.keys != nil || !survey.keyOrigins.isEmpty {
            guard findPublications(survey) else { return false }
        }
        guard survey.publications.count > 0, !survey.hasFailed else { return true }
        let reading = survey.publicationReading ?? SegmentMove(survey.segment, survey.publications)
        survey.publicationReading = reading
        var budget = options.compactionBytesPerRound
        while let position = reading.next {
            guard budget > 0 else {
                reclaiming.hasMore = true
                return false
            }
            let read = reading.withRecord(log, requests: &coldRequests) { record in
                (record.bytes.count, neededPublication(record, named: Self.name(of: record)))
            }
            guard let (recordBytes, needed) = read else {
                survey.hasFailed = reading.hasFailed
                return reading.hasFailed
            }
            if let needed {
                let payloadBytes = MovedRecord.prefixBytes + needed.count
                survey.map.insert(position, recordBytes: LogRecord.roundUp(LogRecord.headerBytes + payloadBytes))
            }
            budget -= recordBytes
            reading.moved(recordBytes: recordBytes)
        }
        return true
    }

    /// - Returns: false where it waits for the device.
    private func findPublications(_ survey: SegmentSurvey) -> Bool {
        func note(_ position: UInt64) {
            survey.publications.insert(log.home(of: position, recordBytes: 0).position, recordBytes: 0)
        }
        if let keys = survey.keys {
            switch keys.step(requests: &coldRequests) {
            case .waits:
                return false
            case .positions(let positions):
                positions.forEach(note)
            case .done:
                survey.hasFailed = survey.hasFailed || keys.hasFailed
                survey.keys = nil
            }
        } else if let origin = survey.keyOrigins.popLast() {
            if let index = state.keys.open[origin] {
                index.forEach { if $0.isPublication { note($0.match(base: index.base).position) } }
            } else {
                survey.keys = state.keys.files.first { $0.segment == origin }.map(PublicationSearch.init)
            }
        }
        return true
    }

    private static func name(of record: LogRecord.View) -> UInt64 {
        record.kind == .moved ? MovedRecord(record.payload)?.position ?? record.position : record.position
    }

    /// What messages that are there can be found by, of a record that published them; nil where nothing is.
    func neededPublication(_ record: LogRecord.View, named name: UInt64) -> [UInt8]? {
        guard var publication = Publication(record, named: name) else { return nil }
        let time = publication.time.rawValue
        publication.keepForLookUp { item in
            guard let (_, partition) = state.partition(item.partition) else { return false }
            let entry = IndexEntry(
                baseOffset: item.baseOffset,
                position: item.position,
                appendTime: time,
                recordBytes: item.recordBytes,
                first: item.first,
                count: item.count
            )
            return partition.isLive(entry)
        }
        guard !publication.items.isEmpty else { return nil }
        var writer = ByteWriter()
        publication.encode(to: &writer)
        return writer.bytes
    }
}

extension Publication {
    /// Leaves out everything that a look-up does not read. Items keep their numbers, which keys name them by.
    fileprivate mutating func keepForLookUp(_ isNeeded: (Item) -> Bool) {
        changes = []
        for place in items.indices {
            items[place].routes = []
            items[place].traces.removeAll { trace in if case .key = trace.kind { false } else { true } }
            if !items[place].traces.isEmpty, !isNeeded(items[place]) { items[place].traces = [] }
        }
        while let last = items.last, last.traces.isEmpty { items.removeLast() }
    }
}
