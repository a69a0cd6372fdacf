internal import MessageModel
internal import StorageService

extension Shard {
    /// Compacts partitions of which more than half is not the last message of its key.
    func compactPartitions(now: Timestamp) {
        guard !state.compactable.isEmpty, hasOpened, log.failure == nil, deferred.isEmpty, retryDeadline == nil else {
            return
        }
        for id in state.compactable.sorted(by: { ($0.topic, $0.index) < ($1.topic, $1.index) }) {
            guard let (_, sequence) = state.partition(id), sequence.visibleOffset > state.compactionTail else {
                state.compactable.remove(id)
                continue
            }
            // The newest messages stay: whoever keeps up sees each of them.
            let compaction = PartitionCompaction(
                partition: id,
                horizon: sequence.visibleOffset - state.compactionTail
            )
            var writer = ByteWriter()
            compaction.encode(to: &writer)
            let bytes = writer.bytes
            do throws(CommitLog.AppendRefusal) {
                _ = try log.append(.partitionCompacted, payloadBytes: bytes.count) { $0.copyBytes(from: bytes) }
            } catch {
                return retryLater(error)
            }
            state.apply(compaction)
            for run in sequence.index.runs where run.firstOffset < compaction.horizon { state.files.thinned(run) }
        }
    }
}
