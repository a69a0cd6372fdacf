internal import MessageModel
internal import StorageService

extension ShardState {
    /// Where messages that leave traces were published.
    struct TracePlace {
        var topic: TopicState
        var partition: PartitionID
        /// Of the message at place `first` in its batch.
        var baseOffset: UInt64
        var first: UInt16
        var time: UInt64
        /// Of the record that holds the batch.
        var position: UInt64
        var recordBytes: UInt32
        /// Of the record that published it, and which of its items it is; nil where that is the batch's own.
        var publication: (position: UInt64, item: UInt16)?
        var segment: UInt64

        func offset(_ record: UInt16) -> UInt64 { baseOffset &+ UInt64(record &- first) }
    }

    /// Finds what messages of a batch leave behind.
    func collectTraces(
        _ batch: BatchView,
        _ traits: BatchTraits,
        topic: TopicState,
        first: Int,
        count: Int,
        into traces: inout [MessageTrace]
    ) {
        guard traits.leavesTraces(in: topic) else { return }
        let isDeduplicated = topic.policy.deduplicationMicroseconds > 0
        let isCompacted = topic.policy.retention == .compacted
        var cursor = batch.records
        while let record = cursor.next() {
            let index = cursor.index - 1
            if index < first { continue }
            if index >= first + count { break }
            let place = UInt16(truncatingIfNeeded: index)
            var expiry = UInt64.max
            var keyCount = 0
            var isTombstone = record.body.isEmpty
            var properties = PropertyCursor(record.properties)
            while let (id, value) = properties.next() {
                switch PropertyID(rawValue: id) {
                case .messageID:
                    if isDeduplicated {
                        let known = DeduplicationWindow.hash(value, hash)
                        traces.append(MessageTrace(record: place, kind: .messageID(known)))
                    }
                    let key = KeyIndex.hash(.messageID, value, tenant: topic.tenant, hash)
                    traces.append(MessageTrace(record: place, kind: .key(key)))
                case .key:
                    keyCount += 1
                    guard keyCount <= Limits.keysPerMessage else { continue }
                    let key = KeyIndex.hash(.key, value, tenant: topic.tenant, hash)
                    traces.append(MessageTrace(record: place, kind: .key(key)))
                case .expiry: if value.count == 8 { expiry = value.load64(0) }
                case .tombstone: isTombstone = true
                default: break
                }
            }
            if isCompacted {
                let kind = MessageTrace.Kind.lastOfKey(compactionKey(record, topic: topic), isTombstone: isTombstone)
                traces.append(MessageTrace(record: place, kind: kind))
            }
            guard record.isRetained else { continue }
            var name: [UInt8] = []
            topic.info.nameBytes.withUnsafeBytes { record.appendName(topic: $0, to: &name) }
            if isTombstone {
                traces.append(MessageTrace(record: place, kind: .cleared(name: name)))
            } else {
                let bytes = UInt32(clamping: record.body.count + record.properties.count)
                let kind = MessageTrace.Kind.retained(name: name, expiry: expiry, bytes: bytes)
                traces.append(MessageTrace(record: place, kind: kind))
            }
        }
    }

    /// Messages were published when their batch was stored.
    mutating func leaveTraces(
        of batch: BatchView,
        _ traits: BatchTraits,
        topic: TopicState,
        partition: PartitionID,
        baseOffset: UInt64,
        time: Timestamp,
        position: UInt64,
        recordBytes: Int,
        segment: UInt64
    ) {
        guard traits.leavesTraces(in: topic) else { return }
        var traces = traceScratch
        traceScratch = []
        traces.removeAll(keepingCapacity: true)
        collectTraces(batch, traits, topic: topic, first: 0, count: batch.recordCount, into: &traces)
        let place = TracePlace(
            topic: topic,
            partition: partition,
            baseOffset: baseOffset,
            first: 0,
            time: time.rawValue,
            position: position,
            recordBytes: UInt32(clamping: recordBytes),
            segment: segment
        )
        for trace in traces { apply(trace, place) }
        traceScratch = traces
    }

    mutating func apply(_ trace: MessageTrace, _ place: TracePlace) {
        switch trace.kind {
        case .messageID(let id):
            remember(id, of: place.topic, place.partition, offset: place.offset(trace.record), time: place.time)
        case .key(let key):
            keys.append(
                key,
                time: place.time,
                position: place.publication?.position ?? place.position,
                record: place.publication?.item ?? trace.record,
                isPublication: place.publication != nil,
                segment: place.segment
            )
        case .retained(let name, let expiry, let bytes):
            let value = RetainedValues.Place(
                position: place.position,
                offset: place.offset(trace.record),
                time: place.time,
                expiry: expiry,
                recordBytes: place.recordBytes,
                bytes: bytes,
                topic: place.topic.info.id.rawValue,
                record: trace.record
            )
            let isKept = name.withUnsafeBytes {
                retained[place.topic.tenant, default: RetainedValues()].set($0, value, retainedLimits)
            }
            if !isKept { retainedRefusals += 1 }
        case .cleared(let name):
            name.withUnsafeBytes { retained[place.topic.tenant]?.remove($0) }
        case .lastOfKey(let key, let isTombstone):
            noteLast(key, isTombstone: isTombstone, of: place.partition, offset: place.offset(trace.record))
        }
    }

    private mutating func remember(
        _ id: DeduplicationWindow.Hash,
        of topic: TopicState,
        _ partition: PartitionID,
        offset: UInt64,
        time: UInt64
    ) {
        let window = topic.policy.deduplicationMicroseconds
        guard window > 0 else { return }
        windows[
            topic.info.id,
            default: DeduplicationWindow(microseconds: window, limit: deduplicationEntries, hash: hash)
        ].insert(id, at: DeduplicationWindow.Place(partition: partition.index, offset: offset), now: time)
    }

    /// The ids of messages that wait for their times are known from now on.
    mutating func rememberHeld(_ batch: BatchView, topic: TopicState, partition: PartitionID, time: Timestamp) {
        guard topic.policy.deduplicationMicroseconds > 0 else { return }
        var cursor = batch.records
        while let record = cursor.next() {
            guard let id = PropertyCursor.first(.messageID, in: record.properties) else { continue }
            let known = DeduplicationWindow.hash(id, hash)
            remember(known, of: topic, partition, offset: .max, time: time.rawValue)
        }
    }

    /// The topic is gone.
    mutating func forgetTraces(of topic: TopicState) {
        windows[topic.info.id] = nil
        for partition in topic.partitions {
            compactions[partition.partition] = nil
            compactable.remove(partition.partition)
        }
        retained[topic.tenant]?.remove(topic: topic.info.id.rawValue)
        if retained[topic.tenant]?.isEmpty == true { retained[topic.tenant] = nil }
    }

    /// Lets go what is too old.
    mutating func expireTraces() {
        for id in windows.keys { windows[id]?.expire(now: lastTime.rawValue) }
        for tenant in retained.keys { retained[tenant]?.sweep(now: lastTime.rawValue) }
    }
}

// MARK: Snapshots

extension ShardState {
    func encodeTraces(to writer: inout ByteWriter) {
        let known = windows.filter { !$0.value.isEmpty }.sorted { $0.key < $1.key }
        writer.write32(UInt32(known.count))
        for (topic, window) in known {
            writer.write32(topic.rawValue)
            window.encode(to: &writer)
        }
        let values = retained.filter { !$0.value.isEmpty }.sorted { $0.key.rawValue < $1.key.rawValue }
        writer.write32(UInt32(values.count))
        for (tenant, values) in values {
            writer.write32(tenant.rawValue)
            values.encode(to: &writer)
        }
        keys.encode(to: &writer)
        encodeCompactions(to: &writer)
    }

    /// Nil where the bytes end early or make no sense.
    mutating func decodeTraces(from reader: inout ByteReader) -> Void? {
        guard let windowCount = reader.read32() else { return nil }
        for _ in 0..<windowCount {
            guard let id = reader.read32(), let topic = topics[TopicID(rawValue: id)],
                let window = DeduplicationWindow(
                    from: &reader,
                    microseconds: topic.policy.deduplicationMicroseconds,
                    limit: deduplicationEntries,
                    hash: hash
                )
            else { return nil }
            windows[topic.info.id] = window
        }
        guard let tenantCount = reader.read32() else { return nil }
        for _ in 0..<tenantCount {
            guard let tenant = reader.read32(), let values = RetainedValues(from: &reader) else { return nil }
            retained[TenantID(rawValue: tenant)] = values
        }
        guard let keys = KeyTable(from: &reader) else { return nil }
        self.keys = keys
        return decodeCompactions(from: &reader)
    }
}
