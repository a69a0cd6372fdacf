import ArgumentParser
import MessageModel
import SluiceClient

/// `Benchmarks lateness`.
struct LatenessBenchmark: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lateness",
        abstract:
            "How long after its time a message comes: behind the end of a lease, a retry's delay, a delivery time."
    )

    @Option(help: "Messages of each kind.")
    var messages = 500

    @Flag(help: "While a producer sends as much as goes.")
    var busy = false

    @OptionGroup var options: ServerOptions

    /// The most that is wanted behind the end of a lease, in ms.
    private static let target = 20.0

    func run() async throws {
        var report = Report()
        report.notes = try await measure()
        report.show(options.output)
    }

    func measure() async throws -> [String] {
        let server = try ChildServer.sluice(options)
        defer { server.stop() }
        let client = try await SluiceClient.connect(ClientConfiguration(host: "127.0.0.1", port: server.nativePort))
        var load: Task<Void, any Error>?
        var running: ProduceLoad?
        if busy {
            try await client.createTopic("load")
            var producing = ProducerOptions()
            producing.maxBatchRecords = 256
            let producer = try await client.producer(to: "load", options: producing)
            let produce = ProduceLoad(producer: producer, size: 128, batch: 256, window: 16)
            running = produce
            load = Task { try await produce.run() }
        }
        var notes: [String] = []
        for kind in Kind.allCases {
            progress("lateness: \(kind.rawValue)")
            notes.append(try await measure(kind, client))
        }
        running?.stop()
        try await load?.value
        await client.close()
        return notes
    }

    enum Kind: String, CaseIterable {
        case lease = "again after the end of a lease"
        case retry = "again after a release with a delay"
        case release = "again after a release"
        case schedule = "at a delivery time"
    }

    private func measure(_ kind: Kind, _ client: SluiceClient) async throws -> String {
        let name = "\(kind)"
        try await client.createTopic(name)
        var options = SubscriptionConsumerOptions()
        options.source = .topic(name, from: .first)
        options.policy.lease = kind == .lease ? .milliseconds(200) : .seconds(60)
        options.prefetch = 10_000
        let consumer = try await client.consumer(subscription: name, options: options)
        let producer = try await client.producer(to: name)
        let count = messages
        let sending = Task {
            // At times that have nothing to do with the server's.
            for index in 0..<count {
                var message = OutgoingMessage([UInt8](repeating: UInt8(ascii: "x"), count: 128))
                if kind == .schedule {
                    message.properties.deliverAtMicroseconds = Timestamp.now.rawValue + 200_000
                }
                _ = try await producer.send(message)
                try await Task.sleep(for: .microseconds(3_000 + index * 7_919 % 4_001))
            }
        }
        var due: [UInt64: UInt64] = [:]
        var samples: [UInt64] = []
        while samples.count < count, let delivery = try await consumer.next() {
            let now = Timestamp.now.rawValue
            for message in delivery {
                switch kind {
                case .schedule:
                    samples.append(now - min(now, message.message.properties.deliverAtMicroseconds ?? now))
                    try message.accept()
                case _ where message.attempt == 1:
                    switch kind {
                    case .lease: due[message.sequence] = message.leaseEndsAt ?? 0
                    case .retry:
                        due[message.sequence] = now + 200_000
                        try message.release(after: .milliseconds(200))
                    case .release, .schedule:
                        due[message.sequence] = now
                        try message.release(after: .zero)
                    }
                default:
                    if let time = due.removeValue(forKey: message.sequence) { samples.append(now - min(now, time)) }
                    try message.accept()
                }
            }
        }
        try await sending.value
        await consumer.close()
        await producer.close()
        samples.sort()
        func milliseconds(_ share: Double) -> Double {
            let place = Int((share * Double(samples.count)).rounded(.up)) - 1
            return samples.isEmpty ? 0 : Double(samples[max(0, min(place, samples.count - 1))]) / 1_000
        }
        var text =
            "\(kind.rawValue)\(busy ? ", busy" : ""): p50 \(Report.number(milliseconds(0.5))) ms, "
            + "p99 \(Report.number(milliseconds(0.99))) ms, max \(Report.number(milliseconds(1))) ms"
        if kind == .lease {
            text += "; target at most 20 ms: \(milliseconds(1) <= Self.target ? "met" : "MISSED")"
        }
        return text
    }
}
