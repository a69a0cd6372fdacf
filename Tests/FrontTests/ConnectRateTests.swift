import Testing

@testable import MQTTFront

@Suite struct ConnectRateTests {
    private func admitted(_ rate: inout ConnectRate, of count: Int, at milliseconds: Int64) -> Int {
        var admitted = 0
        for _ in 0..<count where rate.admits(nowMilliseconds: milliseconds) { admitted += 1 }
        return admitted
    }

    @Test("a second's worth is taken at once, and then as many as the rate says")
    func rate() {
        var rate = ConnectRate(limit: 10, nowMilliseconds: 0)
        #expect(admitted(&rate, of: 20, at: 0) == 10)
        #expect(admitted(&rate, of: 1, at: 99) == 0)
        #expect(admitted(&rate, of: 1, at: 100) == 1)
        #expect(admitted(&rate, of: 1, at: 100) == 0)
        // Silence is not saved up beyond a second.
        #expect(admitted(&rate, of: 50, at: 100_000) == 10)
        // A clock that goes back gives nothing.
        #expect(admitted(&rate, of: 1, at: 0) == 0)
    }

    @Test("without a limit everybody is taken")
    func unlimited() {
        var rate = ConnectRate(limit: 0, nowMilliseconds: 0)
        #expect(admitted(&rate, of: 1_000, at: 0) == 1_000)
    }
}
