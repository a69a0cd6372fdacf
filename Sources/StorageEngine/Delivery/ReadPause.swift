internal import MessageModel

/// How long reading waits that the device refused: each time twice as long, until it goes well.
struct ReadPause {
    private static let shortestMicroseconds: UInt64 = 50_000
    private static let longestMicroseconds: UInt64 = 5_000_000

    /// When it is tried again; never where nothing is waited for.
    private(set) var until = Timestamp.never
    private var length: UInt64 = 0

    /// It was refused.
    /// - Returns: whether that was the first time.
    mutating func begin(now: Timestamp) -> Bool {
        let isFirst = length == 0
        length = isFirst ? Self.shortestMicroseconds : min(2 * length, Self.longestMicroseconds)
        until = now.advanced(byMicroseconds: length)
        return isFirst
    }

    /// It went well.
    mutating func end() {
        guard length > 0 else { return }
        self = ReadPause()
    }

    func isOn(at now: Timestamp) -> Bool { until < .never && now < until }

    /// The time has come to try again.
    /// - Returns: false where nothing was waited for.
    mutating func isOver(at now: Timestamp) -> Bool {
        guard until <= now else { return false }
        until = .never
        return true
    }
}
