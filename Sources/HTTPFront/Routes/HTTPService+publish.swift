internal import HTTPTypes
internal import MessageModel
internal import StorageService

/// Publishing: many messages as JSON, or one as it is.
extension HTTPService {
    func publish(to address: PublishAddress, _ target: RequestTarget, _ call: HTTPCall) async throws -> Reply {
        switch address {
        case .topic: try target.allow("ack", "transaction")
        case .name: try target.allow("ack", "name", "transaction")
        }
        let acknowledgement = try Self.acknowledgement(target["ack"])
        let transaction = try target["transaction"].map(Self.transaction)
        let isJSON = call.mediaType == "application/json"
        let fields = call.fields
        if isJSON, let encoding = fields[.contentEncoding], encoding.lowercased() != "identity" {
            throw Problem(
                .notSupported,
                "messages as JSON are not read with Content-Encoding \(encoding)",
                status: 415,
                title: "Unsupported media type"
            )
        }
        let body = try await call.body()
        let trace = TraceContext(fields: fields)
        let messages =
            try isJSON
            ? NewMessage.list(json: body, trace: trace) : [NewMessage(body: body, fields: fields, trace: trace)]
        let placements: [Placement]
        let plan: PublishPlan
        do {
            placements = try await bridge.withSession { try address.place(messages, $0) }
            plan = try PublishPlan(messages, placements, now: WallClock.now())
        } catch var problem as Problem {
            // The one message of the plain form is not in a list.
            if !isJSON { problem.pointer = nil }
            throw problem
        }
        let results = await bridge.append(plan.batches, acknowledgement: acknowledgement, transaction: transaction)
        if isJSON { return Self.report(messages, placements, plan, results) }
        guard let message = messages.first, let placement = placements.first, let result = results.first else {
            throw unexpectedReply()
        }
        if let code = result.error { throw Self.problem(code) }
        return Self.report(message, placement, offset: result.baseOffset)
    }

    /// Nil for what the server is configured to give.
    private static func acknowledgement(_ text: String?) throws(Problem) -> Acknowledgement? {
        switch text {
        case nil: return nil
        case "durable": return .durable
        case "received": return .received
        default: throw Problem(.invalidArgument, "'ack' is durable or received")
        }
    }

    /// Why a batch was not stored.
    private static func problem(_ code: ErrorCode) -> Problem {
        switch code {
        case .indeterminate:
            Problem(
                code,
                "storage did not confirm in time: the message may or may not be stored",
                hint: "read the end of the partition before publishing it again"
            )
        case .storageFull: Problem(code, "nothing was stored: the disk is full")
        case .storageUnavailable: Problem(code, "nothing was stored: the log failed", hint: "see the server's log")
        case .busy:
            Problem(code, "nothing was stored: storage has more to do than it can", hint: "publish it again later")
        case .notFound:
            Problem(
                code,
                "nothing was stored: the transaction is not open",
                hint: "it was committed, rolled back, or open for too long"
            )
        case .topicNotFound: Problem(code, "nothing was stored: the topic was deleted")
        case .tooLarge: Problem(code, "nothing was stored: the batch is larger than a segment of the log")
        default: Problem(code, "nothing was stored: \(code.rendering.title.lowercased())")
        }
    }

    /// The answer for the plain form.
    private static func report(_ message: NewMessage, _ placement: Placement, offset: UInt64) -> Reply {
        var reply = Reply.json(status: offset == .max ? 202 : 201) { writer in
            writePlace(message, placement, offset, to: &writer)
        }
        guard offset != .max else { return reply }
        let topic = RequestTarget.encode(placement.topic.name)
        reply.headers[.location] =
            "/v1/topics/\(topic)/messages?partition=\(placement.partition.index)&from=\(offset)&limit=1"
        return reply
    }

    /// The answer for the JSON form. Where nothing at all was stored it is the first error.
    private static func report(
        _ messages: [NewMessage],
        _ placements: [Placement],
        _ plan: PublishPlan,
        _ results: [AppendResult]
    ) -> Reply {
        if let first = results.first?.error, results.allSatisfy({ $0.error != nil }) { return problem(first).reply }
        var failed = 0
        return Reply.json { writer in
            writer.array("results") { writer in
                for (index, place) in plan.places.enumerated() {
                    let result = place.batch < results.count ? results[place.batch] : AppendResult(error: .internal)
                    writer.object { writer in
                        if let code = result.error {
                            failed += 1
                            writer.key("error")
                            problem(code).write(to: &writer)
                        } else {
                            let first = result.baseOffset
                            let offset = first == .max ? first : first &+ UInt64(place.index)
                            writePlace(messages[index], placements[index], offset, to: &writer)
                        }
                    }
                }
            }
            writer.member("failed", failed)
        }
    }

    private static func writePlace(
        _ message: NewMessage,
        _ placement: Placement,
        _ offset: UInt64,
        to writer: inout JSONWriter
    ) {
        writer.member("topic", placement.topic.name)
        writer.member("partition", placement.partition.index)
        // A message of a transaction has none yet, and of one that was stored before it may be elsewhere.
        if offset != .max { writer.member("offset", offset) }
        message.messageID?.withUnsafeBytes { writer.member("id", bytes: $0) }
    }
}
