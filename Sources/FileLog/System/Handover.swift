import Glibc

/// Passes elements in batches from the threads that have work to the one thread that does it.
///
/// Both sides keep an array and swap them under the lock, so that in the steady state nothing is allocated.
/// Unchecked because the compiler cannot see that `lock` guards `waiting` and `isClosed`.
final class Handover<Element: Sendable>: @unchecked Sendable {
    private let lock: UnsafeMutablePointer<pthread_mutex_t>
    private let arrival: UnsafeMutablePointer<pthread_cond_t>
    private var waiting: [Element] = []
    private var isClosed = false

    init() {
        lock = .allocate(capacity: 1)
        arrival = .allocate(capacity: 1)
        pthread_mutex_init(lock, nil)
        pthread_cond_init(arrival, nil)
    }

    deinit {
        pthread_cond_destroy(arrival)
        pthread_mutex_destroy(lock)
        arrival.deallocate()
        lock.deallocate()
    }

    /// - Returns: false where it is closed and the element was not taken.
    @discardableResult
    func put(_ element: Element) -> Bool {
        pthread_mutex_lock(lock)
        guard !isClosed else {
            pthread_mutex_unlock(lock)
            return false
        }
        let wasEmpty = waiting.isEmpty
        waiting.append(element)
        pthread_mutex_unlock(lock)
        if wasEmpty { pthread_cond_signal(arrival) }
        return true
    }

    /// No more elements: the taker gets what there is, and then the end.
    func close() {
        pthread_mutex_lock(lock)
        isClosed = true
        pthread_mutex_unlock(lock)
        pthread_cond_broadcast(arrival)
    }

    /// Nothing more comes, and the taker is waited for.
    var isEnding: Bool {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        return isClosed
    }

    /// Waits for elements and takes all of them.
    /// - Parameter batch: an empty array, whose memory is used for what arrives next.
    /// - Returns: false at the end: it is closed, and nothing is left.
    func take(into batch: inout [Element]) -> Bool {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        while waiting.isEmpty {
            if isClosed { return false }
            pthread_cond_wait(arrival, lock)
        }
        swap(&waiting, &batch)
        return true
    }

    /// Takes what there is, without waiting, behind what the batch holds already.
    func takeWaiting(into batch: inout [Element]) {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        batch.append(contentsOf: waiting)
        waiting.removeAll(keepingCapacity: true)
    }
}
