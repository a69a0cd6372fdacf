internal import MessageModel
internal import NIOCore
internal import NativeProtocol

extension SluiceClient {
    /// Makes a topic. One that is there just like this is left as it is.
    /// - Parameters:
    ///   - captures: what it holds besides its own name and subtree: exact names, or subtrees written `a/b/#`.
    ///   - policy: what it keeps, and for how long.
    /// - Returns: the topic, and whether it is new.
    /// - Throws: `alreadyExists` where it is there with other settings, or another topic holds a part of it.
    @discardableResult
    public func createTopic(
        _ name: String,
        partitions: Int = 1,
        captures: [String] = [],
        policy: TopicPolicy = TopicPolicy()
    ) async throws(SluiceClientError) -> (topic: TopicDescription, isNew: Bool) {
        guard let count = UInt16(exactly: partitions), captures.count <= Limits.capturesPerTopic else {
            throw SluiceClientError(
                .invalidArgument,
                "\(partitions) partitions or \(captures.count) captures are too many"
            )
        }
        let core = core
        let answer = try await core.call(.createTopic) { buffer in
            CreateTopicBody(partitions: count, name: name, captures: captures, policy: policy.wire)
                .write(to: &buffer, version: core.version(.createTopic))
        } decode: { reader -> Created<TopicDescription>? in
            guard let isNew = reader.u8(),
                let topic = WireTopicDescription(&reader, version: core.version(.createTopic))
            else { return nil }
            return Created(value: TopicDescription(topic), isNew: isNew != 0)
        }
        return (answer.value, answer.isNew)
    }

    /// Deletes a topic with its messages.
    public func deleteTopic(_ name: String) async throws(SluiceClientError) {
        try await core.call(.deleteTopic, isRepeatable: false) {
            NameBody(name: name).write(to: &$0)
        } decode: { _ in
            ()
        }
    }

    public func describeTopic(_ name: String) async throws(SluiceClientError) -> TopicDescription {
        try await describeTopic(DescribeTopicBody(resolvesAddress: false, name: name))
    }

    /// The topic that an address belongs to: a topic's name, a name, or a filter with wildcards.
    public func describeTopic(holding address: String) async throws(SluiceClientError) -> TopicDescription {
        try await describeTopic(DescribeTopicBody(resolvesAddress: true, name: address))
    }

    private func describeTopic(_ body: DescribeTopicBody) async throws(SluiceClientError) -> TopicDescription {
        let core = core
        return try await core.call(.describeTopic) {
            body.write(to: &$0)
        } decode: {
            WireTopicDescription(&$0, version: core.version(.describeTopic)).map(TopicDescription.init)
        }
    }

    /// All topics, in the order of their names.
    public func listTopics() async throws(SluiceClientError) -> [TopicDescription] {
        let core = core
        return try await list(.listTopics) {
            WireTopicDescription(&$0, version: core.version(.listTopics)).map(TopicDescription.init)
        }
    }

    public func health() async throws(SluiceClientError) -> ServerHealth {
        let health = try await core.call(.health) { WireHealth(&$0) }
        return ServerHealth(
            acceptsWrites: health.acceptsWrites,
            reason: health.reason,
            durablePosition: health.durable,
            endPosition: health.end
        )
    }

    /// Reads stored messages from an offset on, without subscribing.
    /// - Parameters:
    ///   - maxBytes: about so much, but at least one batch where there is one.
    ///   - wait: so long for the first message where there is none yet.
    public func fetch(
        topic: String,
        partition: Int = 0,
        offset: UInt64,
        maxBytes: Int = 1 << 20,
        wait: Duration = .zero
    ) async throws(SluiceClientError) -> FetchedBatches {
        guard let index = UInt16(exactly: partition) else {
            throw SluiceClientError(.invalidArgument, "there is no partition \(partition)")
        }
        let waitMs = UInt32(clamping: max(0, TimeAmount(wait).nanoseconds / 1_000_000))
        let result = try await core.call(.fetch) { buffer in
            FetchBody(
                partition: index,
                waitMs: waitMs,
                maxBytes: UInt32(clamping: maxBytes),
                offset: offset,
                topic: .address(topic)
            ).write(to: &buffer)
        } decode: { reader -> Result<FetchedBatches, SluiceClientError>? in
            guard let fetched = FetchResult(&reader) else { return nil }
            return Self.batches(fetched, topic: topic, partition: partition, offset: offset)
        }
        return try result.get()
    }

    private static func batches(
        _ fetched: FetchResult,
        topic: String,
        partition: Int,
        offset: UInt64
    ) -> Result<FetchedBatches, SluiceClientError> {
        var result = FetchedBatches(batches: [], firstOffset: fetched.firstOffset, nextOffset: fetched.nextOffset)
        var position = 0
        while position < fetched.batches.count {
            guard let view = BatchView(prefixOf: fetched.batches.slice(position..<fetched.batches.count)) else {
                return .failure(SluiceClientError(.protocolViolation, "the fetched batches are malformed"))
            }
            position += view.byteCount
            if let problem = ConsumedBatch.problem(view) { return .failure(problem) }
            let batch = ConsumedBatch(
                batch: view,
                ranges: nil,
                topic: topic,
                topicBytes: Array(topic.utf8),
                partition: partition,
                from: offset,
                attachment: 0
            )
            if batch.count > 0 { result.batches.append(batch) }
        }
        return .success(result)
    }

    /// The offset in a partition that a starting point means at this moment.
    public func findOffset(
        topic: String,
        partition: Int = 0,
        _ point: StartingPoint
    ) async throws(SluiceClientError) -> UInt64 {
        if case .offset(let offset) = point { return offset }
        guard let index = UInt16(exactly: partition) else {
            throw SluiceClientError(.invalidArgument, "there is no partition \(partition)")
        }
        return try await core.call(.findOffset) { buffer in
            FindOffsetBody(partition: index, query: point.wire, topic: .address(topic)).write(to: &buffer)
        } decode: {
            FoundOffset(&$0)?.offset
        }
    }

    func list<Entry: Sendable>(
        _ opcode: Opcode,
        _ decode: @escaping @Sendable (inout WireReader) -> Entry?
    ) async throws(SluiceClientError) -> [Entry] {
        var result: [Entry] = []
        var after = ""
        while true {
            let from = after
            let page = try await core.call(opcode) { buffer in
                ListBody(limit: 500, after: from).write(to: &buffer)
            } decode: { reader -> Page<Entry>? in
                guard let count = reader.u16() else { return nil }
                var entries: [Entry] = []
                for _ in 0..<count {
                    guard let entry = decode(&reader) else { return nil }
                    entries.append(entry)
                }
                guard let next = reader.text() else { return nil }
                return Page(entries: entries, next: next)
            }
            result += page.entries
            guard !page.next.isEmpty, page.next != after else { return result }
            after = page.next
        }
    }
}

struct Created<Value: Sendable>: Sendable {
    var value: Value
    var isNew: Bool
}

private struct Page<Entry: Sendable>: Sendable {
    var entries: [Entry]
    var next: String
}
