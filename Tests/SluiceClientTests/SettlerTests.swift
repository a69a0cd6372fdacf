import NativeProtocol
import Synchronization
import Testing

@testable import SluiceClient

@Suite("What consumers say about messages")
struct SettlerTests {
    private let terms = LeaseTerms(
        subscription: 1,
        lane: 2,
        attempt: 3,
        generation: 5 << 32 | 1,
        firstSequence: 100,
        lastSequence: 199,
        signature: .max,
        firstIndex: 10,
        deadline: .max
    )

    private func settler(outlive: Bool = false) -> (Settler, @Sendable () -> Int) {
        let wakes = Counter()
        let settler = Settler(outliveConnection: outlive) { wakes.add() }
        settler.attached(1)
        return (settler, { wakes.value })
    }

    private final class Counter: Sendable {
        private let state = Mutex(0)
        func add() { state.withLock { $0 += 1 } }
        var value: Int { state.withLock { $0 } }
    }

    @Test("settling one by one makes one range, and wakes the event loop once")
    func coalescing() throws {
        let (settler, wakes) = settler()
        let account = LeaseAccount(attachment: 1, messages: 100, deadline: .max)
        settler.opened(account)
        for index in UInt32(10)..<20 { try settler.settle(account, terms, first: index, last: index, .accept) }
        try settler.settle(account, terms, first: 30, last: 32, .accept)
        try settler.settle(account, terms, first: 33, last: 33, .reject(reason: "x"))
        #expect(wakes() == 1)
        let outgoing = settler.take(now: 0)
        #expect(
            outgoing.groups == [
                Settler.Group(
                    settlement: .accept,
                    ranges: [LaneRange(lane: 2, first: 100, last: 109), LaneRange(lane: 2, first: 120, last: 122)]
                ),
                Settler.Group(
                    settlement: .reject(reason: "x"),
                    ranges: [LaneRange(lane: 2, first: 123, last: 123)]
                ),
            ]
        )
        #expect(outgoing.credit == 14)
        #expect(settler.take(now: 0).isEmpty)
        try settler.settle(account, terms, first: 40, last: 40, .accept)
        #expect(wakes() == 2)
    }

    @Test("what came by an earlier connection is lost, unless leases outlive it")
    func generations() throws {
        let account = LeaseAccount(attachment: 1, messages: 2, deadline: .max)
        let (settler, _) = settler()
        settler.attached(nil)
        #expect(throws: SluiceClientError.self) { try settler.settle(account, terms, first: 10, last: 10, .accept) }
        settler.attached(2)
        #expect(throws: SluiceClientError.self) { try settler.settle(account, terms, first: 10, last: 10, .accept) }
        #expect(settler.take(now: 0).isEmpty)

        let (outliving, _) = self.settler(outlive: true)
        outliving.attached(2)
        try outliving.settle(account, terms, first: 10, last: 11, .accept)
        let outgoing = outliving.take(now: 0)
        #expect(outgoing.groups.isEmpty && outgoing.credit == 0)
        #expect(outgoing.receipts.map(\.receipt.sequence) == [100, 101])
    }

    @Test("a lease that ends by its deadline gives its credit back, once")
    func expiry() throws {
        let (settler, _) = settler()
        let account = LeaseAccount(attachment: 1, messages: 5, deadline: 1_000)
        settler.opened(account)
        try settler.settle(account, terms, first: 10, last: 11, .accept)
        #expect(settler.take(now: 999).credit == 2)
        #expect(settler.take(now: 1_001).credit == 3)
        #expect(settler.take(now: 2_000).credit == 0)
        // Said too late, and not counted twice.
        try settler.settle(account, terms, first: 12, last: 14, .accept)
        #expect(settler.take(now: 2_000).credit == 0)
    }

    @Test("an extension keeps the credit out")
    func extending() throws {
        let (settler, _) = settler()
        let account = LeaseAccount(attachment: 1, messages: 5, deadline: 1_000)
        settler.opened(account)
        try settler.settle(account, terms, first: 10, last: 14, .extend(by: .seconds(60)))
        #expect(settler.take(now: SystemClock.microseconds() + 1_000_000).credit == 0)
        #expect(settler.take(now: SystemClock.microseconds() + 120_000_000).credit == 5)
    }

    @Test("receipts and ids come back from their text")
    func texts() {
        let receipt = terms.receipt(77)
        #expect(DeliveryReceipt(receipt.description) == receipt)
        for text in ["", "1-2-3-4", "1-2-3-4-5-6-7-8", "1-2-3-4-5-6-zz", "1-fffff-3-4-5-6-7", "-1-2-3-4-5-6-7"] {
            #expect(DeliveryReceipt(text) == nil, "\(text)")
        }
        let id = ScheduledMessageID(position: 1 << 40, record: 9)
        #expect(ScheduledMessageID(id.description) == id)
        #expect(ScheduledMessageID("12") == nil)
        #expect(
            SubscriptionPolicy.Backoff.exponential(first: .seconds(1), factor: 1.5, maximum: .seconds(60)).description
                == "exponential 1000ms x1.50 max 60000ms"
        )
    }
}
