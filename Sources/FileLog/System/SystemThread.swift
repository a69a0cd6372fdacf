import CSluiceShims
import Glibc

/// A thread of the operating system. Somebody must `join` it.
struct SystemThread {
    private let handle: pthread_t

    private final class Body {
        let name: String
        let run: @Sendable () -> Void
        init(name: String, run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }

    /// - Parameter name: at most 15 bytes.
    init(name: String, run: @escaping @Sendable () -> Void) throws(SystemError) {
        let body = Unmanaged.passRetained(Body(name: name, run: run))
        var handle = pthread_t()
        let result = pthread_create(
            &handle,
            nil,
            { argument in
                guard let argument else { return nil }
                let body = Unmanaged<Body>.fromOpaque(argument).takeRetainedValue()
                sluice_name_this_thread(body.name)
                body.run()
                return nil
            },
            body.toOpaque()
        )
        guard result == 0 else {
            body.release()
            throw SystemError("cannot start thread", name, number: result)
        }
        self.handle = handle
    }

    /// Waits for its end.
    func join() {
        precondition(pthread_equal(handle, pthread_self()) == 0, "a thread cannot wait for its own end")
        pthread_join(handle, nil)
    }
}
