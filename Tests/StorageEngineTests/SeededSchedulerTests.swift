import MessageModel
import Simulator
import Testing

@Suite("Seeded scheduler")
struct SeededSchedulerTests {
    @Test("events come in the order of their times, and the time goes with them")
    func timeOrder() {
        for seed in 0..<50 as Range<UInt64> {
            var scheduler = SeededScheduler<UInt64>(seed: seed)
            for _ in 0..<200 {
                let time = UInt64.random(in: 0..<1_000, using: &scheduler.generator)
                scheduler.schedule(time, at: Timestamp(rawValue: time))
            }
            var seen: [UInt64] = []
            while let event = scheduler.step() {
                #expect(scheduler.now.rawValue == event, "seed \(seed)")
                seen.append(event)
            }
            #expect(seen.count == 200 && seen == seen.sorted(), "seed \(seed)")
        }
    }

    @Test("the seed decides the order of events of one time, and repeats it")
    func seededOrder() {
        func order(_ seed: UInt64) -> [Int] {
            var scheduler = SeededScheduler<Int>(seed: seed)
            for event in 0..<10 { scheduler.schedule(event) }
            var seen: [Int] = []
            while let event = scheduler.step() { seen.append(event) }
            return seen
        }
        let orders = (0..<20).map { order($0) }
        #expect(orders == (0..<20).map { order($0) })
        #expect(Set(orders).count == 20)
        #expect(orders.allSatisfy { $0.sorted() == Array(0..<10) })
    }

    @Test("a step stops at its limit, and what is past is due now")
    func limits() {
        var scheduler = SeededScheduler<Int>(seed: 1, start: Timestamp(rawValue: 100))
        scheduler.schedule(1, afterMicroseconds: 50)
        scheduler.schedule(2, at: .zero)
        scheduler.schedule(3, afterMicroseconds: 60...70)
        #expect(scheduler.step(until: Timestamp(rawValue: 120)) == 2)
        #expect(scheduler.now == Timestamp(rawValue: 100))
        #expect(scheduler.step(until: Timestamp(rawValue: 120)) == nil)
        #expect(scheduler.now == Timestamp(rawValue: 120) && scheduler.nextTime == Timestamp(rawValue: 150))
        scheduler.advance(to: Timestamp(rawValue: 200))
        #expect(Set([scheduler.step(), scheduler.step()]) == [1, 3])
        #expect(scheduler.now == Timestamp(rawValue: 200) && scheduler.isEmpty)
        #expect(scheduler.step() == nil && scheduler.now == Timestamp(rawValue: 200))
    }
}
