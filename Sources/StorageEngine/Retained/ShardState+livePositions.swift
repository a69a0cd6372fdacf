internal import MessageModel

/// What keeps records of the log alive besides subscriptions and retention: for whoever frees or moves them.
extension ShardState {
    /// Calls `body` with the position and the length of each record that holds a last value which has not expired; one
    /// with several comes once for each.
    func forEachLivePosition(_ body: (_ position: UInt64, _ recordBytes: UInt32) -> Void) {
        let now = lastTime.rawValue
        for values in retained.values {
            values.names.forEach { _, place in
                if place.expiry > now { body(place.position, place.recordBytes) }
            }
        }
    }
}
