/// How many clients may connect in a second: what comes beyond it is answered, and told to come later, before it costs
/// storage anything.
struct ConnectRate {
    /// In a second; zero for any number.
    let limit: Int
    /// What may still come, in thousandths: a second's worth at most, so that a burst after silence is taken.
    private var credit: Int64
    private var lastMilliseconds: Int64

    init(limit: Int, nowMilliseconds: Int64) {
        self.limit = max(0, limit)
        credit = Int64(self.limit) * 1_000
        lastMilliseconds = nowMilliseconds
    }

    mutating func admits(nowMilliseconds: Int64) -> Bool {
        guard limit > 0 else { return true }
        let passed = min(max(0, nowMilliseconds - lastMilliseconds), 1_000)
        lastMilliseconds = max(lastMilliseconds, nowMilliseconds)
        credit = min(credit + passed * Int64(limit), Int64(limit) * 1_000)
        guard credit >= 1_000 else { return false }
        credit -= 1_000
        return true
    }
}
