internal import Gateway
internal import MessageModel
internal import NIOCore
internal import NativeProtocol
internal import StorageService

/// Other views of what is stored: look-up, browsing, retained messages, redrive, scheduled messages.
extension NativeConnection {
    func findingRequest(_ opcode: Opcode, _ frame: Frame) throws(SluiceError) {
        switch opcode {
        case .cancelScheduled:
            let id = try frame.decode { WireScheduledID(&$0) }
            let scheduled = ScheduledID(position: LogPosition(rawValue: id.position), record: id.record)
            try ask(.cancelScheduled(scheduled), frame.header)
        case .redrive:
            let request = try frame.decode { RedriveBody(&$0) }
            let redrive = RedriveRequest(
                topic: try wholeTopic(request.topic).id,
                selector: request.selector,
                rate: request.rate,
                limit: request.limit
            )
            try ask(.redrive(redrive), frame.header)
        case .lookUp:
            let request = try frame.decode { LookUpBody(&$0) }
            let query = LookUpQuery(
                request.isKey ? .key(request.value) : .messageID(request.value),
                topic: request.topic.isEmpty ? nil : try wholeTopic(request.topic).id,
                from: request.from,
                to: request.to,
                limit: min(max(1, Int(request.limit)), NativeLimits.foundMessages)
            )
            try ask(.lookUp(query), frame.header, .finding(opcode))
        case .browse:
            let request = try frame.decode { BrowseBody(&$0) }
            let limit = min(max(1, Int(request.limit)), NativeLimits.foundMessages)
            try ask(
                .browse(name: request.name, lane: request.lane, from: request.from, maxMessages: limit),
                frame.header,
                .finding(opcode)
            )
        default:
            let request = try frame.decode { ScanRetainedBody(&$0) }
            let limit = min(max(1, Int(request.limit)), NativeLimits.foundMessages)
            let after = request.after.isEmpty ? nil : request.after
            try ask(
                .scanRetained(filter: request.filter, after: after, limit: limit),
                frame.header,
                .finding(opcode)
            )
        }
    }

    /// Answers with as many messages as the client's frames have room for.
    func answerFinding(_ header: FrameHeader, _ opcode: Opcode, _ reply: StorageReply) {
        if let size = Self.firstSize(reply), size > session.clientFrameLimit - 1_024 {
            let message = "a message of \(size) bytes is more than the client accepts"
            return respond(to: header, error: SluiceError(.tooLarge, message))
        }
        switch (opcode, reply) {
        case (.lookUp, .found(let messages)):
            respond(to: header) { buffer in
                _ = writeFound(messages.map { (nil, $0) }, to: &buffer)
            }
        case (.browse, .browsed(let messages, let next)):
            respond(to: header) { buffer in
                let count = writeFound(messages.map { (nil, $0) }, to: &buffer)
                let goesOn = count < messages.count ? messages[count].sequence : next
                buffer.writeU8(goesOn == nil ? 0 : 1)
                buffer.writeU64(goesOn ?? 0)
            }
        case (.scanRetained, .retained(let messages, let next)):
            respond(to: header) { buffer in
                let count = writeFound(messages.map { ($0.name, $0.message) }, to: &buffer)
                let goesOn = count < messages.count ? (count > 0 ? messages[count - 1].name : nil) : next
                buffer.writeBytes16(goesOn ?? [])
            }
        default:
            respond(to: header, error: SluiceError(.internal, "storage answered another question"))
        }
    }

    /// The size of the first message that was found, which is sent in any case, with its name.
    private static func firstSize(_ reply: StorageReply) -> Int? {
        switch reply {
        case .found(let messages), .browsed(let messages, _): messages.first?.batch.count
        case .retained(let messages, _): messages.first.map { $0.message.batch.count + $0.name.count }
        default: nil
        }
    }

    /// Writes a list of messages, each with its name before it where it has one.
    /// - Returns: how many had room; the first has it in any case.
    private func writeFound(_ messages: [(name: [UInt8]?, message: FoundMessage)], to buffer: inout ByteBuffer) -> Int {
        let room = session.clientFrameLimit - 1_024
        let start = buffer.writerIndex
        buffer.writeU16(0)
        var count = 0
        for (name, message) in messages {
            let before = buffer.writerIndex
            if let name { buffer.writeBytes16(name) }
            WireFound.write(
                topic: message.partition.topic.rawValue,
                topicName: nameOfTopic(message.partition.topic),
                partition: message.partition.index,
                offset: message.offset,
                record: message.record,
                sequence: message.sequence,
                attempts: message.attempts,
                batch: message.batch,
                to: &buffer
            )
            if buffer.writerIndex - start > room, count > 0 {
                buffer.moveWriterIndex(to: before)
                break
            }
            count += 1
        }
        buffer.setInteger(UInt16(truncatingIfNeeded: count), at: start, endianness: .little)
        return count
    }
}
