import Glibc
import Synchronization

/// A program that was started and is to be waited for, with all signals open to it. (Foundation's `Process` hands on the
/// mask of the thread that starts it, and a pool's thread blocks them.)
struct ChildProcess {
    let pid: pid_t
    /// Its standard output.
    private let output: Int32

    /// The one that is running: there is one at a time, and it must not outlive this process.
    private static let running = Atomic<pid_t>(0)

    /// Kills what is running when this process is told to end.
    static func installSignalHandlers() {
        for number in [SIGINT, SIGTERM, SIGHUP] {
            signal(number) { number in
                let pid = ChildProcess.running.load(ordering: .relaxed)
                if pid > 0 { kill(pid, SIGKILL) }
                _exit(128 + number)
            }
        }
        signal(SIGPIPE, SIG_IGN)
    }

    init(_ path: String, _ arguments: [String]) throws {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw BenchmarkError("no pipe: \(String(cString: strerror(errno)))") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        defer { posix_spawn_file_actions_destroy(&actions) }
        // A thread of a pool blocks signals, and the child would inherit that.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        var mask = sigset_t()
        sigemptyset(&mask)
        posix_spawnattr_setsigmask(&attributes, &mask)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        defer { posix_spawnattr_destroy(&attributes) }
        var words = ([path] + arguments).map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var pid: pid_t = 0
        let status = posix_spawn(&pid, path, &actions, &attributes, &words, environ)
        close(ends[1])
        guard status == 0 else {
            close(ends[0])
            throw BenchmarkError("\(path) cannot be started: \(String(cString: strerror(status)))")
        }
        self.pid = pid
        output = ends[0]
        Self.running.store(pid, ordering: .relaxed)
    }

    /// What it has written, waiting for something; nil at the end.
    func read() -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: 4_096)
        let count = Glibc.read(output, &buffer, buffer.count)
        return count > 0 ? Array(buffer[..<count]) : nil
    }

    /// Waits for its end.
    /// - Returns: the exit code; of a signal its number with 128 added.
    @discardableResult
    func wait() -> Int32 {
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        Self.running.store(0, ordering: .relaxed)
        close(output)
        let signal = status & 0x7F
        return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
    }

    func terminate() { kill(pid, SIGTERM) }
}
