import MessageModel
import StorageService
import TestSupport
import Testing

@Suite("A back-off")
struct BackoffTests {
    private func delays(_ text: String, _ count: UInt32) throws -> [UInt64] {
        let backoff = try Backoff(text)
        return (1...count).map { backoff.delay(afterAttempt: $0) }
    }

    @Test("with a list takes one delay after the other, and stays with the last")
    func fixed() throws {
        #expect(try delays("1s,5s,30s", 5) == [1_000, 5_000, 30_000, 30_000, 30_000])
        #expect(try delays("0, 250ms ,2m,1h,1d", 5) == [0, 250, 120_000, 3_600_000, 86_400_000])
        #expect(try Backoff("7s").delay(afterAttempt: .max) == 7_000)
        #expect(try Backoff("7s,8s").delay(afterAttempt: 0) == 7_000)
    }

    @Test("that grows stops at its greatest delay, however many attempts there are")
    func exponential() throws {
        #expect(try delays("exponential 1s x2 max 10s", 6) == [1_000, 2_000, 4_000, 8_000, 10_000, 10_000])
        #expect(try delays("exponential 1ms x1.5 max 1s", 5) == [1, 1, 2, 3, 5])
        #expect(try delays("exponential 5s x1 max 10m", 3) == [5_000, 5_000, 5_000])
        #expect(try Backoff("exponential 365d x100 max 365d").delay(afterAttempt: .max) == Backoff.maxMilliseconds)
        #expect(try Backoff("exponential 1ms x1.01 max 365d").delay(afterAttempt: .max) == Backoff.maxMilliseconds)
        #expect(Backoff.standard.delay(afterAttempt: 1) == 1_000)
        #expect(Backoff.standard.delay(afterAttempt: 100) == 600_000)
    }

    @Test(
        "is written as it is read",
        arguments: [
            ("1s,5s,30s", "1s,5s,30s"), ("1000ms , 90s", "1s,90s"), ("0,60s,24h", "0,1m,1d"),
            ("exponential 1s x2 max 10m", "exponential 1s x2 max 10m"),
            ("exponential  1500ms x1.50  max 3600s", "exponential 1500ms x1.5 max 1h"),
            ("exponential 1s x1.05 max 1m", "exponential 1s x1.05 max 1m"),
        ]
    )
    func text(text: String, normal: String) throws {
        let backoff = try Backoff(text)
        #expect(backoff.description == normal)
        #expect(try Backoff(normal) == backoff)
    }

    @Test(
        "that is not understood is refused",
        arguments: [
            "", ",", "1s,", "1", "1x", "s", "-1s", "1.5s", "1s;2s", "366d", "99999999999999999999s",
            "18446744073709551615d",
            "exponential", "exponential 1s", "exponential 1s x2", "exponential 1s 2 max 1m",
            "exponential 1s x0.5 max 1m",
            "exponential 1s x101 max 1m", "exponential 1s x1.555 max 1m", "exponential 1s x max 1m",
            "exponential 0 x2 max 1m", "exponential 1m x2 max 1s", "exponential 1s x2 max 366d",
            "exponential 1s x4294967296 max 1m", "exponential 1s x1. max 1m", "exponential 1s x2 max 1m more", "١s",
            Array(repeating: "1s", count: 65).joined(separator: ","),
            Array(repeating: "1s", count: 1_000).joined(separator: ","),
        ]
    )
    func refused(text: String) {
        let error = #expect(throws: SluiceError.self) { try Backoff(text) }
        #expect(error?.code == .invalidArgument)
    }

    @Test("comes back from its bytes, and damaged bytes are refused or within the limits", arguments: 0..<50)
    func bytes(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let backoff: Backoff
        if Bool.random(using: &random) {
            let count = Int.random(in: 1...Backoff.maxDelays, using: &random)
            backoff = try Backoff(
                fixed: (0..<count).map { _ in .random(in: 0...Backoff.maxMilliseconds, using: &random) }
            )
        } else {
            let first = UInt64.random(in: 1...Backoff.maxMilliseconds, using: &random)
            backoff = try Backoff(
                exponential: first,
                factorHundredths: .random(in: 100...Backoff.maxFactor, using: &random),
                max: .random(in: first...Backoff.maxMilliseconds, using: &random)
            )
        }
        #expect(try Backoff(backoff.description) == backoff, "seed \(seed)")
        let bytes = backoff.encoded
        #expect(bytes.count <= Backoff.maxEncodedBytes)
        (bytes + [1, 2, 3]).withUnsafeBytes { bytes in
            let decoded = Backoff.decode(bytes)
            #expect(decoded?.backoff == backoff && decoded?.byteCount == bytes.count - 3, "seed \(seed)")
        }
        for length in 0..<bytes.count {
            #expect(Array(bytes[..<length]).withUnsafeBytes { Backoff.decode($0) == nil }, "seed \(seed)")
        }
        for _ in 0..<100 {
            var changed = bytes
            changed[.random(in: 0..<bytes.count, using: &random)] = .random(in: .min ... .max, using: &random)
            let decoded = changed.withUnsafeBytes { Backoff.decode($0) }
            for attempt in [1, 2, 100, .max] as [UInt32] {
                #expect(decoded.map { $0.backoff.delay(afterAttempt: attempt) <= Backoff.maxMilliseconds } ?? true)
            }
        }
    }
}
