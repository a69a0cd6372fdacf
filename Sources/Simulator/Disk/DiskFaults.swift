/// Which requests of a simulated disk fail.
package struct DiskFaults: Sendable {
    package enum Fault: Sendable {
        case never
        /// One request fails, after so many that go well.
        case once(after: Int)
        /// All requests fail, after so many that go well.
        case always(after: Int)

        package static var once: Fault { .once(after: 0) }
        package static var always: Fault { .always(after: 0) }

        /// Counts one request.
        /// - Returns: whether it fails.
        mutating func strikes() -> Bool {
            switch self {
            case .never:
                return false
            case .once(let count):
                self = count > 0 ? .once(after: count - 1) : .never
                return count <= 0
            case .always(let count):
                if count > 0 { self = .always(after: count - 1) }
                return count <= 0
            }
        }
    }

    /// What was to be synced stays readable, and no later sync makes it durable.
    package var sync = Fault.never
    /// A first part of the bytes may have been written.
    package var write = Fault.never
    /// Of segments and side files, now or later.
    package var read = Fault.never
    package var writeFile = Fault.never
    /// Fails as full.
    package var createSegment = Fault.never
    /// Segments and side files that need more than this together are refused as full. In bytes.
    package var capacity = Int.max

    package init() {}
}
