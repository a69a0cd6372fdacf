import AdminConsole
import ArgumentParser
import SluiceClient

/// `sluice subscription update`.
struct SubscriptionUpdateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "update",
        abstract: "Change a subscription's policy; what is not given stays as it is."
    )

    @Argument(help: "The subscription's name.")
    var name: String

    @OptionGroup(title: "Policy") var policy: SubscriptionPolicyOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func run() async throws {
        try await server.withClient { client in
            let changed = try await calling("update subscription \(name)") { () async throws(SluiceClientError) in
                let present = try await client.describeSubscription(name)
                return try await client.updateSubscription(name, policy: policy.applied(to: present.policy))
            }
            output.show(changed.policy.record)
        }
    }
}

/// `sluice subscription seek`.
struct SubscriptionSeekCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "seek",
        abstract: "Let a subscription go on at another place.",
        discussion: "Leases end and attempts are forgotten. 'next' empties an inbox."
    )

    @Argument(help: "The subscription's name.")
    var name: String

    @Option(
        name: .customLong("to"),
        parsing: .unconditional,
        help: ArgumentHelp("The place: \(StartText.form).", valueName: "place")
    )
    var place: StartText

    @Option(help: ArgumentHelp("With an offset: the partition that it is of.", valueName: "index"))
    var partition: Int?

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func validate() throws {
        if partition != nil {
            guard case .offset = place else { throw ValidationError("--partition goes with an offset") }
        }
    }

    func run() async throws {
        try await changing(name, "seek", server, output) { client async throws(SluiceClientError) in
            try await client.seek(name, to: StartingPoint(place), partition: partition ?? 0)
        }
    }
}

/// `sluice subscription pause`.
struct SubscriptionPauseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pause",
        abstract: "Deliver nothing until it is resumed; what is published waits."
    )

    @Argument(help: "The subscription's name.")
    var name: String

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func run() async throws {
        try await changing(name, "pause", server, output) { client async throws(SluiceClientError) in
            try await client.pause(name)
        }
    }
}

/// `sluice subscription resume`.
struct SubscriptionResumeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "resume", abstract: "Deliver again.")

    @Argument(help: "The subscription's name.")
    var name: String

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func run() async throws {
        try await changing(name, "resume", server, output) { client async throws(SluiceClientError) in
            try await client.resume(name)
        }
    }
}

private func changing(
    _ name: String,
    _ verb: String,
    _ server: NativeServerOptions,
    _ output: OutputOptions,
    _ change: (SluiceClient) async throws(SluiceClientError) -> SubscriptionDescription
) async throws {
    try await server.withClient { client in
        let changed = try await calling("\(verb) subscription \(name)") { () async throws(SluiceClientError) in
            try await change(client)
        }
        output.show(changed.record(now: WallClock.microseconds()))
    }
}

/// What `bind` and `unbind` name.
struct BindingArguments: ParsableArguments {
    @Argument(help: "The inbox.")
    var name: String

    @Argument(help: "A name or a filter, 'factory/+/alarm'; with --kind a binding key as AMQP writes it.")
    var pattern: String

    @Option(help: "How the pattern is read.")
    var kind = BindingKind.filter

    @Option(help: ArgumentHelp("The exchange of an AMQP binding.", valueName: "name"))
    var exchange: String?

    @Option(
        name: .customLong("argument"),
        help: ArgumentHelp(
            "Of a headers binding; without a value the header has to be there. Repeatable.",
            valueName: "name=value"
        )
    )
    var arguments: [String] = []

    @Option(help: "Only messages for which this holds: \"amount > 100 AND region = 'eu'\".")
    var filter: String?

    @Option(help: "Only messages with one of these tags: 'paid || refunded'.")
    var tags: String?

    func validate() throws {
        if kind == .filter, exchange != nil {
            throw ValidationError("--exchange goes with --kind direct, topic, fanout, headers")
        }
        if kind != .filter, exchange == nil { throw ValidationError("--kind \(kind.rawValue) needs --exchange") }
        if kind != .headers, !arguments.isEmpty { throw ValidationError("--argument goes with --kind headers") }
        if kind != .filter, filter != nil || tags != nil {
            throw ValidationError("--filter and --tags go with --kind filter")
        }
    }

    var binding: Binding {
        if kind == .filter { return .filter(pattern, selector: filter ?? "", tags: tags ?? "") }
        return Binding(
            kind: .init(rawValue: kind.rawValue) ?? .filter,
            exchange: exchange ?? "",
            pattern: pattern,
            arguments: arguments.map { argument in
                let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                return .init(name: String(parts[0]), value: parts.count > 1 ? String(parts[1]) : nil)
            }
        )
    }
}

/// `sluice subscription bind`.
struct SubscriptionBindCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bind",
        abstract: "Route messages into an inbox from now on."
    )

    @OptionGroup var arguments: BindingArguments
    @OptionGroup var server: NativeServerOptions

    func run() async throws {
        try await server.withClient { client in
            try await calling("bind \(arguments.name)") { () async throws(SluiceClientError) in
                try await client.bind(arguments.name, arguments.binding)
            }
        }
    }
}

/// `sluice subscription unbind`.
struct SubscriptionUnbindCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unbind",
        abstract: "Take a binding away; what it brought stays."
    )

    @OptionGroup var arguments: BindingArguments
    @OptionGroup var server: NativeServerOptions

    func run() async throws {
        try await server.withClient { client in
            try await calling("unbind \(arguments.name)") { () async throws(SluiceClientError) in
                try await client.unbind(arguments.name, arguments.binding)
            }
        }
    }
}

/// `sluice subscription bindings`.
struct SubscriptionBindingsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "bindings", abstract: "List an inbox's bindings.")

    @Argument(help: "The inbox.")
    var name: String

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func run() async throws {
        try await server.withClient { client in
            let bindings = try await calling("list the bindings of \(name)") { () async throws(SluiceClientError) in
                try await client.bindings(of: name)
            }
            output.show(
                Listing(
                    columns: [.init("kind"), .init("exchange"), .init("pattern"), .init("arguments")],
                    rows: bindings.map { binding in
                        [
                            .text(binding.kind.rawValue), .text(binding.exchange), .text(binding.pattern),
                            .list(
                                binding.arguments.map { argument in
                                    argument.value.map { "\(argument.name)=\($0)" } ?? argument.name
                                }
                            ),
                        ]
                    }
                )
            )
        }
    }
}

extension OutputOptions {
    /// Messages that were found, a line or an object each.
    func show(_ messages: [FoundMessage], withPlace: Bool = false) {
        var columns: [Listing.Column] = [
            .init("topic"), .init("partition", alignment: .right), .init("offset", alignment: .right),
            .init("stored_at"), .init("name"), .init("body"),
        ]
        if withPlace {
            columns.insert(
                contentsOf: [.init("sequence", alignment: .right), .init("attempts", alignment: .right)],
                at: 0
            )
        }
        guard format == .table else {
            var listing: [OutputValue] = []
            for found in messages {
                var record = ShownMessage(found.message).record
                if withPlace {
                    record.fields.insert(.init("attempts", .integer(found.attempts)), at: 0)
                    record.fields.insert(.init("sequence", .integer(Int64(clamping: found.sequence))), at: 0)
                }
                listing.append(.record(record))
            }
            var writer = JSONWriter()
            writer.append(.list(listing))
            StandardStream.output.write(writer.text + "\n")
            return
        }
        show(
            Listing(
                columns: columns,
                rows: messages.map { found in
                    let place: [OutputValue] =
                        withPlace ? [.integer(Int64(clamping: found.sequence)), .integer(found.attempts)] : []
                    return place + [
                        .text(found.topic), .integer(found.partition), .integer(Int64(clamping: found.offset)),
                        .text(TimeText.format(microseconds: found.storedAt)), .text(found.name), .text(found.text),
                    ]
                }
            )
        )
    }
}

/// `sluice subscription browse`.
struct SubscriptionBrowseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "browse",
        abstract: "Show what waits or is leased; nothing is changed."
    )

    @Argument(help: "The subscription's name.")
    var name: String

    @Option(help: ArgumentHelp("The partition, or for an inbox the priority.", valueName: "index"))
    var lane: Int = 0

    @Option(help: ArgumentHelp("The sequence to begin with.", valueName: "sequence"))
    var from: UInt64 = 0

    @Option(help: ArgumentHelp("At most this many.", valueName: "n"))
    var limit: Int = 100

    @OptionGroup var output: OutputOptions
    @OptionGroup var server: NativeServerOptions

    func validate() throws {
        if limit < 1 { throw ValidationError("--limit is at least 1") }
    }

    func run() async throws {
        try await server.withClient { client in
            let found = try await calling("browse subscription \(name)") { () async throws(SluiceClientError) in
                try await client.browse(name, lane: lane, from: from, limit: limit)
            }
            output.show(found, withPlace: true)
        }
    }
}
