import AdminConsole
import ArgumentParser
import Glibc
import SluiceClient

/// `sluice produce`.
struct ProduceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "produce",
        abstract: "Send messages.",
        discussion: """
            The address is a topic, or any name in one: factory/line1/temp. Without -m and --file every line of \
            standard input is a message. Nothing is printed on success; -v prints name, partition and offset of each \
            message, -o json the same as a JSON object a line; of a message that waits for its time the id by which \
            sluice schedule cancel withdraws it.
            """
    )

    enum Acknowledgement: String, ExpressibleByArgument, CaseIterable {
        /// Synced to the device.
        case durable
        /// In the memory of the server's operating system.
        case received
    }

    @Argument(help: "A topic's name, or the full name of the messages.")
    var address: String

    @Option(
        name: [.customShort("m"), .customLong("message")],
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp("A message. Repeatable.", valueName: "body")
    )
    var messages: [String] = []

    @Option(
        name: .customLong("file"),
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "A file that is one message as a whole; - for standard input. Repeatable.",
            valueName: "path"
        )
    )
    var files: [String] = []

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("The ordering key: messages with the same key keep their order.", valueName: "ordering-key")
    )
    var key: String?

    @Option(parsing: .unconditional, help: "A tag.")
    var tag: String?

    @Option(
        name: .customLong("header"),
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp("A user property. Repeatable.", valueName: "name=value")
    )
    var headers: [String] = []

    @Option(
        name: .customLong("lookup-key"),
        parsing: .unconditionalSingleValue,
        help: ArgumentHelp("A key by which sluice lookup finds the message. Repeatable.", valueName: "key")
    )
    var lookUpKeys: [String] = []

    @Option(help: ArgumentHelp("The message id.", valueName: "id"))
    var id: String?

    @Option(help: ArgumentHelp("0 to 255; inboxes with priorities deliver higher ones first.", valueName: "n"))
    var priority: UInt8?

    @Option(help: ArgumentHelp("Deliver it after \(DurationText.form).", valueName: "length"))
    var deliverIn: DurationText?

    @Option(help: ArgumentHelp("Deliver it at a time, such as 2026-11-20T09:00:00Z.", valueName: "time"))
    var deliverAt: TimeArgument?

    @Option(help: ArgumentHelp("It is not wanted any more after so long.", valueName: "length"))
    var expiresIn: DurationText?

    @Flag(help: "Keep it as the last value of its name, see sluice retained.")
    var retain = false

    @Flag(help: "All messages at once or none: in one transaction, committed at the end of the input.")
    var transaction = false

    @Option(help: ArgumentHelp("The media type of the bodies, such as application/json.", valueName: "type"))
    var contentType: String?

    @Option(help: "When a message counts as sent: synced to the device (durable), or taken by the server (received).")
    var ack: Acknowledgement = .durable

    @Option(help: ArgumentHelp("Send what -m and --file give this many times.", valueName: "n"))
    var count: Int?

    @Flag(name: .shortAndLong, help: "Print name, partition and offset of each message.")
    var verbose = false

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func validate() throws {
        if let count {
            if count < 1 { throw ValidationError("--count is at least 1") }
            if messages.isEmpty, files.isEmpty { throw ValidationError("--count repeats what -m or --file give") }
        }
        if deliverIn != nil, deliverAt != nil { throw ValidationError("either --deliver-in or --deliver-at") }
        if transaction, verbose || output.format == .json {
            throw ValidationError("the messages of a --transaction have no offsets before it is committed")
        }
        if transaction, ack != .durable { throw ValidationError("a --transaction is always durable") }
        for header in headers where header.first == "=" || !header.contains("=") {
            throw ValidationError("'--header \(header)' is not NAME=VALUE")
        }
    }

    func run() async throws {
        let bodies = try messages.map { Array($0.utf8) } + files.map { try InputFile.contents(of: $0) }
        if transaction { return try await sendInTransaction(bodies) }
        try await server.withClient { client in
            var options = ProducerOptions()
            options.acknowledgement = ack == .durable ? .durable : .received
            let producer = try await calling("send to \(address)") { () async throws(SluiceClientError) in
                try await client.producer(to: address, options: options)
            }
            let sender = Sender(
                producer: producer,
                address: address,
                template: template,
                reporting: output.format == .json ? .json : verbose ? .text : .nothing
            )
            if bodies.isEmpty {
                try await sendLines(by: sender)
            } else {
                for _ in 0..<(count ?? 1) {
                    for body in bodies { try await sender.send(body) }
                }
                try await sender.finish()
            }
        }
    }

    private func sendInTransaction(_ bodies: [[UInt8]]) async throws {
        try await server.withClient { client in
            var count = 0
            do {
                try await client.transaction { transaction in
                    func send(_ body: [UInt8]) async throws {
                        var message = template
                        message.body = body
                        try await transaction.send(message, to: address)
                        count += 1
                    }
                    if bodies.isEmpty {
                        var input = InputFile.standardInput
                        while let line = try input.line() { try await send(line) }
                    } else {
                        for _ in 0..<(self.count ?? 1) { for body in bodies { try await send(body) } }
                    }
                }
            } catch let error as SluiceClientError {
                throw CommandFailure(error, toDo: "send to \(address): nothing is sent")
            }
            StandardStream.error.write("\(count) messages committed\n")
        }
    }

    /// What was read before a signal is sent; then the process ends.
    private func sendLines(by sender: Sender) async throws {
        let signals = StopSignals()
        // The reader waits in a system call that no cancellation ends.
        let watch = Task {
            let number = await signals.next()
            guard !Task.isCancelled else { return }
            try? await sender.finish()
            Glibc.exit(128 + number)
        }
        defer { watch.cancel() }
        var input = InputFile.standardInput
        while let line = try input.line() { try await sender.send(line) }
        try await sender.finish()
    }

    private var template: OutgoingMessage {
        var message = OutgoingMessage([], orderingKey: key.map { Array($0.utf8) })
        message.properties.tag = tag
        message.properties.contentType = contentType
        message.properties.keys = lookUpKeys
        message.properties.messageID = id
        message.properties.priority = priority
        message.properties.deliverAtMicroseconds =
            deliverAt?.microseconds ?? deliverIn.map { WallClock.microseconds() &+ $0.microseconds }
        message.properties.expiresAtMicroseconds = expiresIn.map { WallClock.microseconds() &+ $0.microseconds }
        message.isRetained = retain
        message.properties.user = headers.map { header in
            let parts = header.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return .init(name: String(parts[0]), value: String(parts[1]))
        }
        return message
    }
}

/// Sends bodies that share everything else.
private struct Sender: Sendable {
    enum Reporting { case nothing, text, json }

    let producer: Producer
    let address: String
    let template: OutgoingMessage
    let reporting: Reporting

    func send(_ body: [UInt8]) async throws(CommandFailure) {
        var message = template
        message.body = body
        let next = message
        guard reporting != .nothing else {
            return try await calling("send to \(address)") { () async throws(SluiceClientError) in
                try await producer.enqueue(next)
            }
        }
        let receipt = try await calling("send to \(address)") { () async throws(SluiceClientError) in
            try await producer.send(next)
        }
        report(receipt)
    }

    func finish() async throws(CommandFailure) {
        try await calling("send to \(address)") { () async throws(SluiceClientError) in try await producer.flush() }
        await producer.close()
    }

    private func report(_ receipt: Receipt) {
        var record = Record([.init("name", .text(address)), .init("partition", .integer(receipt.partition))])
        if let id = receipt.scheduledID {
            record.fields.append(.init("scheduled_id", .text(id.description)))
        } else if !receipt.isWaiting {
            record.fields.append(.init("offset", .integer(Int64(clamping: receipt.offset))))
        }
        if reporting == .json {
            StandardStream.output.write(OutputFormat.json.render(record, isTerminal: false, styled: false))
        } else {
            let cells = record.fields.map { field -> String in
                switch field.value {
                case .text(let text): printable(text)
                case .integer(let number): String(number)
                default: ""
                }
            }
            StandardStream.output.write(cells.joined(separator: "\t") + "\n")
        }
    }
}
