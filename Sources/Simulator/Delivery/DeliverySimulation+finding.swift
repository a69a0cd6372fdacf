internal import MessageModel
internal import StorageEngine
internal import StorageService

/// Whether what was published is found again: by its id, by its keys, and as the last value of its name.
extension DeliverySimulation {
    func checkLookUps(_ session: UInt64, _ found: DeliveryObservation) throws(Violation) {
        let withID = found.published.keys.filter { model.messages[$0].hasID }.sorted()
        for message in withID.suffix(3) + withID.prefix(1) {
            try check(.messageID(Array(Self.messageID(message).utf8)), are: [message], session, found)
        }
        let lost = model.messages.indices.last { model.messages[$0].hasID && found.published[$0] == nil }
        if let lost { try check(.messageID(Array(Self.messageID(lost).utf8)), are: [], session, found) }
        let key = model.serial % 6
        let withKey = found.published.keys.filter { model.messages[$0].lookUpKey == key }
        try check(.key(Array(Self.key(key).utf8)), are: Set(withKey), session, found)
    }

    /// Looks up: what is there is found where it is, and nothing else, unless it was published since.
    private func check(
        _ criterion: LookUpQuery.Criterion,
        are expected: Set<Int>,
        _ session: UInt64,
        _ found: DeliveryObservation
    ) throws(Violation) {
        let query = LookUpQuery(criterion, limit: 1_000)
        guard case .success(.found(let messages)) = try ask(.lookUp(query), session) else {
            return model.fail("\(criterion) cannot be looked up")
        }
        var seen = Set<Int>()
        // Dead letters have the ids and keys of what died.
        let known = Set(found.topics.values.filter { $0.name != "dead" }.map(\.id))
        for shown in messages where known.contains(shown.partition.topic) {
            guard let message = recognize(shown, "a look-up") else { continue }
            model.check(seen.insert(message).inserted, "\(model.text(message)) is found twice")
            if let place = found.published[message] {
                model.check(
                    place.partition == shown.partition && place.offset == shown.offset,
                    "\(model.text(message)) is found at \(shown.offset), and stands at \(place.offset)"
                )
                model.check(expected.contains(message), "\(model.text(message)) is found by what it has not")
            } else {
                model.check(
                    model.batches[model.messages[message].batch].kind == .scheduled,
                    "\(model.text(message)) is found, and not published"
                )
            }
        }
        for message in expected where !seen.contains(message) {
            if try isGone(message, session, found) { continue }
            model.fail("\(model.text(message)) is not found by \(criterion)")
        }
        try throwViolation()
    }

    /// Its topic let it go since it was seen.
    private func isGone(_ message: Int, _ session: UInt64, _ found: DeliveryObservation) throws(Violation) -> Bool {
        let topic = model.topics[model.batches[model.messages[message].batch].topic]
        guard topic.letsGo, let place = found.published[message],
            case .success(.topic(let now)) = try ask(.describeTopic(name: topic.name), session)
        else { return false }
        return place.offset < now.partitions[Int(place.partition.index)].firstOffset
    }

    private func recognize(_ shown: FoundMessage, _ what: String) -> Int? {
        shown.batch.withUnsafeBytes { bytes in
            guard let view = BatchView(prefixOf: bytes) else {
                model.fail("\(what) showed no batch")
                return nil
            }
            var records = view.records
            for _ in 0..<shown.record { _ = records.next() }
            return records.next().flatMap { recognize($0) }
        }
    }

    /// The last value of a name is a message of that name, and none that is followed by another in its partition.
    func checkLastValues(_ session: UInt64, _ found: DeliveryObservation) throws(Violation) {
        var values: [[UInt8]: Int] = [:]
        var after: [UInt8]?
        repeat {
            let request = StorageRequest.scanRetained(filter: Array("#".utf8), after: after, limit: 7)
            guard case .success(.retained(let page, let next)) = try ask(request, session) else {
                return model.fail("last values cannot be read")
            }
            for value in page {
                guard let message = recognize(value.message, "a last value") else { continue }
                model.check(values[value.name] == nil, "a name has two last values")
                values[value.name] = message
                let known = model.messages[message]
                model.check(
                    known.isRetained && known.name == value.name,
                    "\(model.text(message)) is the last value of another name, or is none"
                )
            }
            model.check(next.map { after?.lexicographicallyPrecedes($0) ?? true } ?? true, "last values do not go on")
            try throwViolation()
            after = next
        } while after != nil
        var newest: [[UInt8]: [PartitionID: UInt64]] = [:]
        for (message, place) in found.published where model.messages[message].isRetained {
            let name = model.messages[message].name
            newest[name, default: [:]][place.partition] = max(newest[name]?[place.partition] ?? 0, place.offset)
        }
        for (name, offsets) in newest {
            if let message = values[name] {
                guard let place = found.published[message] else { continue }
                model.check(
                    offsets[place.partition] == place.offset,
                    "\(model.text(message)) is a last value, and not the last"
                )
            } else {
                // The last one of its name may have expired.
                let mayExpire = model.messages.contains { $0.isRetained && $0.name == name && $0.expiry != nil }
                model.check(mayExpire, "\(String(decoding: name, as: UTF8.self)) has no last value")
            }
        }
        try throwViolation()
    }
}
