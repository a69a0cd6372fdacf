import TestSupport
import Testing

@testable import StorageEngine

@Suite("Key gates, compared with arrays")
struct KeyGatePropertyTests {
    /// One key: who may be out, who is out besides, and who waits.
    private struct Line {
        var current: UInt64
        var alsoOut: Set<UInt64> = []
        var waiting: [UInt64] = []
    }

    private struct Model {
        var lines: [UInt64: Line] = [:]

        func key(of sequence: UInt64) -> UInt64? {
            lines.first {
                $0.value.current == sequence || ($0.value.alsoOut.union($0.value.waiting)).contains(sequence)
            }?
            .key
        }
        var members: [UInt64] { lines.values.flatMap { [$0.current] + $0.alsoOut + $0.waiting } }
        var waiting: [UInt64] { lines.values.flatMap(\.waiting) }
    }

    @Test(
        "of each key one message may be out, the first that waits follows it",
        arguments: 1...10 as ClosedRange<UInt64>
    )
    func operations(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var gate = KeyGate()
        var model = Model()
        var next: UInt64 = 1_000
        // Some went out before the order counted.
        for sequence in 0..<UInt64.random(in: 0...6, using: &random) {
            let key = UInt64.random(in: 0..<4, using: &random)
            gate.close(sequence * 7, key: key)
            if model.lines[key] == nil {
                model.lines[key] = Line(current: sequence * 7)
            } else {
                model.lines[key]?.alsoOut.insert(sequence * 7)
            }
        }
        for _ in 0..<300 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5:
                next += 1
                let key = UInt64.random(in: 0..<4, using: &random)
                let isFree = model.lines[key] == nil
                #expect(gate.admit(next, key: key) == isFree, "seed \(seed)")
                #expect(gate.admit(next, key: key) == isFree, "seed \(seed): asked again")
                if isFree { model.lines[key] = Line(current: next) } else { model.lines[key]?.waiting.append(next) }
            case 5..<8:
                guard let sequence = model.members.sorted().randomElement(using: &random) else { continue }
                checkDone(sequence, &gate, &model, seed)
            default:
                guard let key = model.lines.keys.sorted().randomElement(using: &random), let line = model.lines[key]
                else { continue }
                let out = ([line.current] + line.alsoOut.sorted()).randomElement(using: &random) ?? line.current
                checkRelease(out, key, &gate, &model, seed)
            }
            #expect(gate.waitingCount == model.waiting.count && gate.isEmpty == model.lines.isEmpty, "seed \(seed)")
            for sequence in model.members {
                #expect(gate.holdsBack(sequence) == model.waiting.contains(sequence), "seed \(seed)")
            }
        }
    }

    private func checkDone(_ sequence: UInt64, _ gate: inout KeyGate, _ model: inout Model, _ seed: UInt64) {
        guard let key = model.key(of: sequence), var line = model.lines[key] else { return }
        let free = gate.done(sequence)
        if line.current != sequence {
            line.alsoOut.remove(sequence)
            line.waiting.removeAll { $0 == sequence }
            model.lines[key] = line
            #expect(free == nil, "seed \(seed)")
        } else if let other = line.alsoOut.first(where: { !gate.holdsBack($0) }) {
            // Any of those that are out: whichever it is, nothing is free.
            line.alsoOut.remove(other)
            line.current = other
            model.lines[key] = line
            #expect(free == nil, "seed \(seed)")
        } else if line.waiting.isEmpty {
            model.lines[key] = nil
            #expect(free == nil, "seed \(seed)")
        } else {
            line.current = line.waiting.removeFirst()
            model.lines[key] = line
            #expect(free == line.current, "seed \(seed)")
        }
    }

    private func checkRelease(
        _ sequence: UInt64,
        _ key: UInt64,
        _ gate: inout KeyGate,
        _ model: inout Model,
        _ seed: UInt64
    ) {
        guard var line = model.lines[key] else { return }
        let free = gate.release(sequence)
        var out = line.alsoOut.union([line.current])
        out.remove(sequence)
        line.waiting = (line.waiting + [sequence]).sorted()
        if let other = out.first {
            line.current = other
            line.alsoOut = out.subtracting([other])
            #expect(free == nil, "seed \(seed)")
        } else {
            line.current = line.waiting.removeFirst()
            line.alsoOut = []
            #expect(free == line.current, "seed \(seed)")
        }
        model.lines[key] = line
    }
}
