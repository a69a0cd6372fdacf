import MessageModel
import Testing

@testable import StorageEngine

@Suite("Gathering for a sync")
struct SyncGatheringTests {
    private func time(_ microseconds: UInt64) -> Timestamp { Timestamp(rawValue: 1_000_000 + microseconds) }

    /// A sync of so many bytes that took so long; so much came meanwhile.
    private func gathering(bytes: UInt64, took duration: UInt64, waiting: UInt64) -> SyncGathering {
        var gathering = SyncGathering()
        gathering.syncBegan(at: time(0), bytes: bytes)
        gathering.syncEnded(at: time(duration), waiting: waiting)
        return gathering
    }

    @Test("the first sync waits for nothing")
    func first() {
        var gathering = SyncGathering()
        #expect(gathering.waits(for: 1, now: time(0)) == false)
    }

    @Test("where one writes, what he writes next begins the next sync")
    func alone() {
        var gathering = gathering(bytes: 800, took: 200, waiting: 0)
        #expect(gathering.waits(for: 800, now: time(201)) == false)
        #expect(gathering.deadline == nil)
    }

    @Test("what came during a sync waits until those whom it answered have written again")
    func several() {
        var gathering = gathering(bytes: 800, took: 200, waiting: 600)
        #expect(gathering.waits(for: 600, now: time(200)) == true)
        #expect(gathering.deadline == time(400))
        #expect(gathering.waits(for: 1_200, now: time(300)) == true)
        #expect(gathering.waits(for: 1_300, now: time(310)) == false)
        #expect(gathering.deadline == nil)
    }

    @Test("it waits no longer than the sync took, and never long")
    func bounds() {
        var short = gathering(bytes: 800, took: 200, waiting: 600)
        #expect(short.waits(for: 600, now: time(399)) == true)
        #expect(short.waits(for: 600, now: time(400)) == false)
        var long = gathering(bytes: 800, took: 50_000, waiting: 600)
        #expect(long.waits(for: 600, now: time(50_000 + SyncGathering.longest - 1)) == true)
        #expect(long.waits(for: 600, now: time(50_000 + SyncGathering.longest)) == false)
    }

    @Test("after a sync of much it waits as long as it may")
    func much() {
        var gathering = gathering(bytes: SyncGathering.much, took: 200, waiting: 600)
        #expect(gathering.waits(for: 600, now: time(200 + SyncGathering.longest - 1)) == true)
        #expect(gathering.waits(for: 600, now: time(200 + SyncGathering.longest)) == false)
    }

    @Test("a clock that is set back makes nobody wait")
    func clockSetBack() {
        var during = gathering(bytes: 800, took: 200, waiting: 600)
        #expect(during.waits(for: 600, now: time(100)) == false)
        var gathering = SyncGathering()
        gathering.syncBegan(at: time(5_000), bytes: 800)
        gathering.syncEnded(at: time(0), waiting: 600)
        #expect(gathering.waits(for: 600, now: time(0)) == false)
    }
}
