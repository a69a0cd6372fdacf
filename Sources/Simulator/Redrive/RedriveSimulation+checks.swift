internal import MessageModel
internal import StorageEngine
internal import StorageService

/// What there must be of each message: itself, and a copy for each letter of it that was sent back.
extension RedriveSimulation {
    private struct Letter: Hashable {
        var partition: UInt16
        var offset: UInt64
    }

    private struct Observation {
        /// For each message, how often it stands in its topic.
        var places: [Int: Int] = [:]
        /// All letters, and those that were not sent back.
        var letters: [Letter: Int] = [:]
        var open = Set<Letter>()
        var ends: [UInt64] = []
    }

    /// Brings everything to its end: all letters are sent back, and all that comes is accepted.
    func rest() throws(Violation) {
        if faults.isFull || faults.hasFailedLog || faults.hasFailedSync || !isServing { return }
        guard let shard else { return }
        report.rests += 1
        note("everything comes to rest")
        isResting = true
        isDraining = true
        defer {
            isResting = false
            isDraining = false
        }
        disk.faults = DiskFaults()
        detach(shard)
        // A segment that was refused is asked for again first.
        _ = try run { isQuiet && shard.health.acceptsWrites }
        try settleDown()
        try redriveAll()
        try check(isAtRest: true)
        attach(shard, credit: 1 << 40)
        _ = try run { (scheduler.nextTime ?? .never) > scheduler.now.advanced(byMicroseconds: 40_000_000) }
        checkAnswered()
        try throwViolation()
        try checkDrained()
        detach(shard)
        called()
    }

    /// Waits until no redrive runs any more.
    private func settleDown() throws(Violation) {
        _ = try run { pending.isEmpty }
        try throwViolation()
    }

    /// Sends everything back; one that goes on by itself is waited for, and so are letters that are being written.
    private func redriveAll() throws(Violation) {
        asked.insert("")
        var emptyOnes = 0
        for _ in 0..<200 {
            let answer = try ask(.redrive(RedriveRequest(topic: topics[Self.deadTopic].id)))
            switch answer {
            case .success(.redriven(let count)):
                counted = counted.map { $0 + Int(count) }
                emptyOnes = count == 0 ? emptyOnes + 1 : 0
                if emptyOnes == 2 { return }
            case .failure(let error) where error.code == .busy || error.code == .storageFull: break
            default: return fail("a redrive at rest was answered \(String(describing: answer))")
            }
            let end = scheduler.now.advanced(byMicroseconds: 500_000)
            _ = try run { (scheduler.nextTime ?? .never) > end }
            scheduler.advance(to: end)
        }
        fail("a redrive does not come to its end")
    }

    /// - Parameter isAtRest: no redrive runs, and all letters were sent back that could be.
    func check(isAtRest: Bool) throws(Violation) {
        let wasResting = isResting
        isResting = true
        defer { isResting = wasResting }
        try findTopics()
        // A redrive may go on meanwhile.
        for _ in 0..<50 {
            let before = try openLetters()
            // A letter is marked at once, and its copy is seen when it is durable.
            _ = try run { shard.map { $0.health.durable == $0.health.end } ?? true }
            let found = try observe(open: before)
            guard try openLetters() == before, try ends() == found.ends else { continue }
            verify(found, isAtRest: isAtRest)
            return try throwViolation()
        }
        check(!isAtRest, "letters are sent back for ever")
        try throwViolation()
    }

    private func verify(_ found: Observation, isAtRest: Bool) {
        var sentBack: [Int: Int] = [:]
        for (letter, message) in found.letters where !found.open.contains(letter) {
            sentBack[message, default: 0] += 1
            let number = messages[message].number
            check(
                asked.contains("") || asked.contains("number <> '2'") && number != 2
                    || asked.contains("number = '1'") && number == 1,
                "message \(message) was sent back, and nobody asked for it"
            )
        }
        for (index, message) in messages.enumerated() where message.topic < Self.deadTopic {
            let places = found.places[index] ?? 0
            let copies = max(0, places - 1)
            let sent = sentBack[index] ?? 0
            if topics[message.topic].wasDeleted {
                check(
                    copies <= sent,
                    "message \(index) stands \(places) times in its topic, \(sent) letters were sent back"
                )
            } else {
                check(places > 0 || !message.isDurable, "message \(index) is lost")
                check(
                    copies == sent,
                    "message \(index) stands \(places) times in its topic, and \(sent) letters of it were sent back"
                )
            }
        }
        let total = sentBack.values.reduce(0, +)
        report.sentBack = max(report.sentBack, total)
        guard isAtRest else { return }
        if let counted { check(counted == total, "\(total) letters were sent back, and \(counted) were told of") }
        counted = total
        for letter in found.open {
            let isGone = found.letters[letter].map { topics[messages[$0].topic].wasDeleted } ?? false
            check(isGone, "the letter at \(letter.offset) of \(letter.partition) was not sent back")
        }
    }

    /// Everything was delivered and accepted.
    private func checkDrained() throws(Violation) {
        for reader in readers {
            guard case .success(.subscription(let seen)) = try ask(.describeSubscription(name: reader.name)) else {
                return fail("\(reader.name) is gone")
            }
            for (lane, state) in seen.lanes.enumerated() {
                check(state.backlog == 0, "\(state.backlog) messages wait in \(reader.name)")
                for sequence in 0..<state.nextOffset {
                    let place = Place(lane: UInt16(lane), sequence: sequence)
                    check(reader.delivered.contains(place), "\(reader.name) was never given \(lane)/\(sequence)")
                }
            }
        }
        try throwViolation()
    }

    // MARK: Looking

    private func findTopics() throws(Violation) {
        guard case .success(.topics(let seen, _)) = try ask(.listTopics(after: nil, limit: 100)) else { return }
        for index in topics.indices {
            guard let topic = seen.first(where: { $0.name == topics[index].name }) else {
                check(topics[index].wasDeleted, "topic \(topics[index].name) is lost")
                continue
            }
            topics[index].id = topic.id
        }
        try throwViolation()
    }

    private func ends() throws(Violation) -> [UInt64] {
        let request = StorageRequest.describeTopic(name: topics[Self.deadTopic].name)
        guard case .success(.topic(let topic)) = try ask(request) else { return [] }
        return topic.partitions.map(\.nextOffset)
    }

    private func openLetters() throws(Violation) -> Set<Letter>? {
        var open = Set<Letter>()
        for partition in 0..<topics[Self.deadTopic].partitions {
            var next: UInt64? = 0
            while let from = next {
                let name = "$redrive/" + topics[Self.deadTopic].name
                let request = StorageRequest.browse(name: name, lane: UInt16(partition), from: from, maxMessages: 100)
                // Before the first redrive there is none: no letter was sent back.
                guard case .success(.browsed(let shown, let following)) = try ask(request) else { return nil }
                for message in shown { open.insert(Letter(partition: UInt16(partition), offset: message.sequence)) }
                next = following
            }
        }
        return open
    }

    private func observe(open: Set<Letter>?) throws(Violation) -> Observation {
        var found = Observation()
        for topic in topics.indices where topics[topic].name != "ring" {
            guard case .success(.topic(let seen)) = try ask(.describeTopic(name: topics[topic].name)) else { continue }
            for (index, state) in seen.partitions.enumerated() {
                let partition = PartitionID(topic: seen.id, index: UInt16(index))
                if topic == Self.deadTopic { found.ends.append(state.nextOffset) }
                var offset = state.firstOffset
                while offset < state.nextOffset {
                    let request = StorageRequest.fetch(
                        FetchRequest(partition: partition, offset: offset, maxBytes: 1 << 20)
                    )
                    guard case .success(.fetched(let reply)) = try ask(request), !reply.batches.isEmpty else {
                        fail("offset \(offset) of \(ShardModel.text(partition)) cannot be read")
                        try throwViolation()
                        return found
                    }
                    offset = take(reply.batches, topic, partition, from: offset, &found)
                    try throwViolation()
                }
            }
        }
        found.open = open ?? Set(found.letters.keys)
        return found
    }

    private func take(
        _ bytes: [UInt8],
        _ topic: Int,
        _ partition: PartitionID,
        from start: UInt64,
        _ found: inout Observation
    ) -> UInt64 {
        var next = start
        bytes.withUnsafeBytes { bytes in
            var rest = bytes
            while let view = BatchView(prefixOf: rest) {
                var records = view.records
                while let record = records.next() {
                    let offset = view.baseOffset + UInt64(records.index - 1)
                    guard offset >= start else { continue }
                    guard let message = MessageText.batch(of: record.body), message < messages.count else {
                        return fail("a message that nobody sent is in \(topics[topic].name)")
                    }
                    if topic == Self.deadTopic {
                        found.letters[Letter(partition: partition.index, offset: offset)] = message
                    } else {
                        found.places[message, default: 0] += 1
                        verify(record, message, topic, partition)
                    }
                }
                next = max(next + 1, view.nextOffset)
                rest = UnsafeRawBufferPointer(rebasing: rest[view.byteCount...])
            }
        }
        return next
    }

    /// What stands in a topic is what was sent there, whether it died meanwhile or not.
    private func verify(_ record: RecordView, _ message: Int, _ topic: Int, _ partition: PartitionID) {
        let known = messages[message]
        check(known.topic == topic, "message \(message) is in \(topics[topic].name)")
        check(known.partition == partition.index, "message \(message) is in partition \(partition.index)")
        var name: [UInt8] = []
        Array(topics[topic].name.utf8).withUnsafeBytes { record.appendName(topic: $0, to: &name) }
        check(name == known.name, "message \(message) has the name \(String(decoding: name, as: UTF8.self))")
        check(record.orderingKey.map { Array($0) } == known.key, "message \(message) has another ordering key")
        var user: [String: String] = [:]
        var properties = PropertyCursor(record.properties)
        while let (id, value) = properties.next() {
            guard id == PropertyID.user.rawValue, let (key, value) = PropertyCursor.splitUser(value) else { continue }
            user[String(decoding: key, as: UTF8.self)] = String(decoding: value, as: UTF8.self)
        }
        check(user == ["number": String(known.number)], "message \(message) has the properties \(user)")
    }
}
