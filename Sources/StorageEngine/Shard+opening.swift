package import MessageModel
internal import StorageService

extension Shard {
    /// Opens the shard that a device holds, or a new one.
    ///
    /// Reads the newest snapshot and the log behind it. The shard is to be run (rounds, device events) until `isReady`
    /// before anybody is served.
    /// - Throws: where the data is of a newer version, or the device cannot be read.
    package static func open(device: any LogDevice, options: ShardOptions) throws(SluiceError) -> Shard {
        let segments = try LogScanner.usedSegments(device, identity: options.logIdentity)
        let recovered = try newestSnapshot(device: device, options: options, segments: segments)
        var state = recovered.state
        var scanner = LogScanner(device: device, identity: options.logIdentity, segments: segments)
        var malformed: [DamagedRegion] = []
        let result: LogScanner.Result
        do throws(DeviceError) {
            result = try scanner.scan(
                from: recovered.position,
                epoch: state.epoch,
                endsHere: recovered.isClean
            ) { record, segment in
                if !state.apply(record, segment: segment.number) {
                    malformed.append(
                        DamagedRegion(start: record.position, end: record.position + UInt64(record.bytes.count))
                    )
                }
            } passOver: { region in
                state.leaveGaps(for: region)
            }
        } catch {
            throw SluiceError(.storageUnavailable, "the log cannot be read: \(error.description)")
        }
        state.beginLife()
        state.forgetNames(before: result.segments.first?.base ?? 0)
        restoreHeaders(of: result.segments, device: device, identity: options.logIdentity)
        // Segments that hold nothing of this log are made anew when they are needed.
        let newest = result.segments.last
        removeUnused(device, behind: newest?.number)
        for name in recovered.unusedFiles { device.removeFile(name) }
        let log = CommitLog(
            device: device,
            options: options,
            segments: result.segments.isEmpty ? [.beforeFirst] : result.segments,
            end: result.end,
            epoch: state.epoch + 1,
            relocations: state.relocations
        )
        // Without a snapshot everything is needed from the beginning on.
        let missing =
            recovered.isFromScratch && recovered.position > 0
            ? [DamagedRegion(start: 0, end: recovered.position)] : []
        let shard = Shard(log: log, state: state, damaged: missing + result.damaged + malformed, options: options)
        shard.snapshotWork.kept = recovered.positions
        shard.noteReferences()
        shard.snapshotWork.isWanted = !recovered.isClean || result.end != recovered.position
        return shard
    }

    private struct Recovered {
        var state: ShardState
        var position: UInt64 = 0
        var isClean = false
        /// Nothing but the records from this position on says anything.
        var isFromScratch = true
        /// Of this snapshot and the older ones that are there.
        var positions: [UInt64] = []
        /// Snapshots that cannot be used, and index files that this one does not name.
        var unusedFiles: [String] = []
    }

    private static func newestSnapshot(
        device: any LogDevice,
        options: ShardOptions,
        segments: [CommitLog.Segment]
    ) throws(SluiceError) -> Recovered {
        var spare: Recovered?
        var recovered = Recovered(state: ShardState(options: options))
        var unusedIndexFiles: [String] = []
        do throws(DeviceError) {
            let files = try device.listFilesNow()
            let indexFiles = Set(files.filter { $0.hasPrefix(IndexFile.prefix) || $0.hasPrefix(KeyFile.prefix) })
            unusedIndexFiles = indexFiles.sorted()
            let positions = files.compactMap(Snapshot.position(inName:)).sorted()
            for (place, position) in positions.enumerated().reversed() {
                let name = Snapshot.name(position: position)
                recovered.unusedFiles.append(name)
                guard let bytes = try device.readFileNow(name) else { continue }
                let reading = Snapshot.decode(bytes, options: options)
                switch reading {
                case .read(var state, let position, let isClean):
                    // A snapshot of a log that is no longer there says nothing.
                    guard position == 0 || segments.last.map({ position <= $0.end }) == true else { continue }
                    // Without an index that it names, the log is read from an older one on, or from its beginning.
                    let keys = KeyRestoration(device: device, options: options, segments: segments)
                    try keys.restore(&state, at: position, files: indexFiles)
                    let named = state.indexFiles
                    guard named.isSubset(of: indexFiles) else { continue }
                    var usable = recovered
                    usable.state = state
                    usable.position = position
                    usable.isClean = isClean
                    usable.isFromScratch = false
                    usable.positions = Array(positions[...place])
                    usable.unusedFiles.removeLast()
                    usable.unusedFiles += indexFiles.subtracting(named).sorted()
                    if segments.areContiguous(from: position) { return usable }
                    // Segments behind it are missing: lost, or let go behind a newer one.
                    spare = spare ?? usable
                case .unusable: continue
                case .newerVersion(let version):
                    throw DeviceError(.notFound, "\(version)")
                }
            }
            recovered.unusedFiles = positions.map(Snapshot.name(position:))
            if spare != nil || !segments.areContiguous(from: 0) {
                let search = CheckpointSearch(device: device, options: options, segments: segments)
                let found = try search.newest(
                    behind: spare?.position ?? 0,
                    indexFiles: indexFiles
                )
                if let found {
                    recovered.state = found.state
                    recovered.position = found.position
                    recovered.isFromScratch = false
                    recovered.unusedFiles += indexFiles.subtracting(found.state.indexFiles).sorted()
                    return recovered
                }
            }
            if let spare { return spare }
        } catch {
            if error.kind == .notFound, let version = UInt32(error.description) {
                throw SluiceError(
                    .versionNotSupported,
                    "a snapshot was written in format \(version), this server reads formats up to \(Snapshot.version)",
                    hint: "start the newer version of sluice that wrote it"
                )
            }
            throw SluiceError(.storageUnavailable, "the snapshots cannot be read: \(error.description)")
        }
        recovered.unusedFiles += unusedIndexFiles
        recovered.position = segments.first?.base ?? 0
        return recovered
    }

    private static func removeUnused(_ device: any LogDevice, behind newest: UInt64?) {
        guard let all = try? device.listSegmentsNow() else { return }
        for segment in all where newest.map({ segment.number > $0 }) ?? true { device.removeSegment(segment.number) }
    }

    /// Writes headers again that are damaged. They become durable with the first record; if not, the next opening meets
    /// and reports them again.
    private static func restoreHeaders(of segments: [CommitLog.Segment], device: any LogDevice, identity: UInt32) {
        for segment in segments where !segment.hasHeader {
            withUnsafeTemporaryAllocation(byteCount: SegmentHeader.bytes, alignment: 8) { header in
                SegmentHeader.write(
                    header,
                    number: segment.number,
                    base: segment.base,
                    size: segment.size,
                    identity: identity
                )
                try? device.write(UnsafeRawBufferPointer(header), segment: segment.number, offset: 0)
            }
        }
    }

    /// Creates the topic that holds every name that no other captures, where it is not there yet. For a new log; call
    /// once the shard is ready.
    package func ensureBuiltInTopic(now: Timestamp) {
        if let topic = state.topic(named: TopicDirectory.builtInTopic, tenant: .default) {
            return adopt(options.builtInTopic, for: topic)
        }
        let session = openSession(tenant: .default)
        perform(
            session: session,
            .createTopic(TopicSpecification(name: TopicDirectory.builtInTopic, policy: options.builtInTopic)),
            token: 0,
            now: now
        )
        closeSession(session)
    }
}

extension Shard {
    /// What the built-in topic keeps is set with the server: it may be another now.
    private func adopt(_ policy: TopicPolicy, for topic: TopicState) {
        guard topic.policy != policy else { return }
        do throws(Refusal) {
            try appendRecord(.topicChanged) { writer in
                writer.write32(topic.info.id.rawValue)
                policy.encode(to: &writer)
            }
        } catch {
            // It keeps what it kept until the next start.
            return
        }
        topic.policy = policy
        noteRetention(topic)
        noteSize(topic)
    }
}

extension CommitLog.Segment {
    /// What a new log has before its first segment: nothing, and full.
    static let beforeFirst = CommitLog.Segment(number: .max, base: 0, size: 0)
}
