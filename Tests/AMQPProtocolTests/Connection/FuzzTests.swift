import NIOCore
import Testing

@testable import AMQPProtocol

/// Valid frames, bent at random, and noise: whatever comes out, it is an action or an error, never a trap.
@Suite("Hostile bytes")
struct FuzzTests {
    static let seeds: [[UInt8]] = [
        publish("x", "a.b", "hello", properties: PropertiesTests.full), publish(), publishMethod(),
        contentHeader(bodySize: 3, properties: PropertiesTests.full.encoded()), body([1, 2, 3]),
        declareQueue("q", arguments: ["x-max-length": .int32(5), "t": .table(["a": .array(FieldArray([.void]))])]),
        declareQueue(""), consume("q", tag: "c"), consume("q"), ack(1), ack(0, multiple: true), nack(2, multiple: true),
        reject(1), qos(3), qos(2, global: true), method(.basicGet, [0, 0] + short("q") + [0]),
        method(.basicCancel, short("c") + [0]), method(.basicRecover, [1]), method(.basicRecoverAsync, [1]),
        method(.confirmSelect, [0]), method(.txSelect), method(.txCommit), method(.txRollback),
        method(.channelFlow, [1]), method(.channelOpen, channel: 2, short("")), close(.channelClose, channel: 1),
        method(.channelCloseOk), frame(8, channel: 0, []),
        method(
            .exchangeDeclare,
            [0, 0] + short("x") + short("topic") + [2] + table(["alternate-exchange": .string("y")])
        ),
        method(.exchangeBind, [0, 0] + short("x") + short("y") + short("#") + [0] + table([:])),
        method(.queueUnbind, [0, 0] + short("q") + short("x") + short("k") + table([:])),
        method(.queueDelete, [0, 0] + short("q") + [0]), method(.queuePurge, [0, 0] + short("q") + [0]),
        method(.exchangeDelete, [0, 0] + short("x") + [0]), method(.accessRequest, short("/data") + [0]),
        method(.connectionUpdateSecret, channel: 0, long("s".utf8) + short("")), startOk(), tuneOk(), openHost(),
    ]

    func mutate(_ bytes: [UInt8], _ random: inout SplitMix64) -> [UInt8] {
        var result = bytes
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            guard let index = result.indices.randomElement(using: &random) else { break }
            switch Int.random(in: 0...5, using: &random) {
            case 0: result[index] ^= 1 << UInt8.random(in: 0...7, using: &random)
            case 1: result[index] = [0x00, 0xFF, 0x7F, 0x80].randomElement(using: &random) ?? 0
            case 2: result.removeSubrange(index...)
            case 3: result.insert(UInt8.random(in: 0...255, using: &random), at: index)
            case 4: result.remove(at: index)
            default: result[index] = UInt8.random(in: 0...255, using: &random)
            }
        }
        // Most get a frame around them that fits, so that what is inside is seen.
        guard Int.random(in: 0...4, using: &random) > 0, result.count > 8 else { return result }
        let channel = UInt16(result[1]) << 8 | UInt16(result[2])
        return frame(result[0], channel: channel, Array(result[7..<result.count - 1]))
    }

    /// Does what an owner would do, so that the stream goes on.
    func answer(_ actions: [AMQPAction], _ transcript: inout Transcript) {
        for action in actions {
            switch action {
            case .authenticate: transcript.machine.authenticated(output: &transcript.output)
            case .openVirtualHost: transcript.machine.openedVirtualHost(output: &transcript.output)
            case .updateSecret: transcript.machine.updatedSecret(output: &transcript.output)
            case .closeRequested: _ = transcript.machine.completeClose(output: &transcript.output)
            case .channel(let number, let channel): answer(channel, number, &transcript)
            case .none, .needMore, .paused, .discard, .channelOpened, .failed, .close: break
            }
        }
    }

    func answer(_ action: ChannelAction, _ number: UInt16, _ transcript: inout Transcript) {
        switch action {
        case .publish(let publish):
            transcript.machine[channel: number]?.finishPublish(publish.confirmTag)
            transcript.machine[channel: number]?.writeConfirms(into: &transcript.output)
        case .declareQueue(let declare):
            transcript.machine[channel: number]?
                .declaredQueue(declare.queue, messageCount: 1, consumerCount: 0, output: &transcript.output)
        case .purgeQueue: transcript.machine[channel: number]?.purgedQueue(messageCount: 0, output: &transcript.output)
        case .deleteQueue:
            transcript.machine[channel: number]?.deletedQueue(messageCount: 0, output: &transcript.output)
        case .consume(let request):
            transcript.machine[channel: number]?.consumed(source: 0, output: &transcript.output)
            for _ in 0..<3 { _ = transcript.delivers(to: request.consumer, channel: number) }
        case .get: transcript.machine[channel: number]?.gotNothing(output: &transcript.output)
        case .close: transcript.machine.completeClose(channel: number, output: &transcript.output)
        case .declareExchange, .deleteExchange, .bindExchange, .unbindExchange, .bindQueue, .unbindQueue, .cancel,
            .recover, .commit:
            transcript.completes(number)
        case .none, .settle, .creditChanged, .rollback, .failed: break
        }
    }

    @Test("a connection survives any stream of mutated frames until it ends it itself")
    func mutations() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        var ends = 0
        for _ in 0..<1_500 {
            var transcript = Transcript.open(
                capabilities: ["consumer_cancel_notify": .boolean(true)],
                heartbeat: UInt16.random(in: 0...1, using: &random)
            )
            for _ in 0..<25 where !transcript.machine.hasEnded {
                var bytes = Self.seeds.randomElement(using: &random) ?? []
                if Int.random(in: 0...3, using: &random) == 0 { bytes = mutate(bytes, &random) }
                var actions = transcript.receives(bytes)
                for _ in 0..<10 where !actions.isEmpty {
                    answer(actions, &transcript)
                    actions = transcript.goesOn()
                    if actions == [.paused] { break }
                }
                // What the server writes is always frames.
                let output = Array(transcript.output.readableBytesView)
                let found = frames(output)
                #expect(found.reduce(0) { $0 + $1.payload.count + 8 } == output.count, "seed \(seed)")
                transcript.output.clear()
                if Int.random(in: 0...9, using: &random) == 0 { _ = transcript.timerFires(after: 400) }
            }
            if !transcript.machine.isRunning { ends += 1 }
        }
        #expect(ends > 100, "seed \(seed): some of it must be found wrong")
    }

    @Test("noise ends the handshake or waits, and nothing else")
    func noise() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(seed: seed)
        for round in 0..<3_000 {
            var transcript = Transcript()
            let noise = (0..<Int.random(in: 1...200, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            answer(transcript.receives((round % 2 == 0 ? ProtocolHeader.bytes : []) + noise), &transcript)
            #expect(!transcript.machine.isRunning, "seed \(seed)")
            _ = transcript.timerFires(after: 20_000)
            #expect(transcript.machine.hasEnded, "seed \(seed)")
        }
    }

    @Test("every method cut short anywhere is an error, or is whole")
    func truncation() {
        for bytes in Self.seeds where bytes[0] == 1 && bytes.count > 12 {
            let length = Int(bytes[6])
            guard bytes[3...5].allSatisfy({ $0 == 0 }), bytes.count >= length + 8 else { continue }
            let payload = Array(bytes[7..<7 + length])
            for count in 0..<payload.count {
                var transcript = Transcript.open()
                answer(
                    transcript.receives(frame(1, channel: UInt16(bytes[2]), Array(payload[..<count]))),
                    &transcript
                )
            }
        }
    }
}
