internal import FileLog
package import Logging
internal import MessageModel
package import NIOCore
package import StorageEngine
internal import Synchronization

/// A running storage with the device below it, for those who start and stop a server.
package final class StorageHost: Sendable {
    package let eventLoop: any EventLoop
    private let storage: NIOLoopBound<LocalStorage>
    private let device: NIOLoopBound<FileDevice>

    private init(eventLoop: any EventLoop, storage: NIOLoopBound<LocalStorage>, device: NIOLoopBound<FileDevice>) {
        self.eventLoop = eventLoop
        self.storage = storage
        self.device = device
    }

    /// Opens the shard in a directory and waits until it serves.
    /// - Throws: `SluiceError` where the directory cannot be used, is of a newer version, or takes no writes.
    package static func start(
        shardPath: String,
        options: ShardOptions,
        eventLoop: any EventLoop,
        logger: Logger
    ) async throws -> StorageHost {
        let host = try await eventLoop.submit {
            // Opening reads the log on the loop's thread: nobody is served on it yet.
            let mailbox = DeviceMailbox(eventLoop: eventLoop)
            let device: FileDevice
            do throws(DeviceError) {
                device = try FileDevice(directory: shardPath) { mailbox.put($0) }
            } catch {
                throw SluiceError(
                    error.kind == .full ? .storageFull : .storageUnavailable,
                    "the log cannot be opened: \(error.description)"
                )
            }
            do {
                let shard = try Shard.open(device: device, options: options)
                let storage = LocalStorage(shard: shard, eventLoop: eventLoop, logger: logger)
                mailbox.connect(NIOLoopBound(storage, eventLoop: eventLoop))
                return StorageHost(
                    eventLoop: eventLoop,
                    storage: NIOLoopBound(storage, eventLoop: eventLoop),
                    device: NIOLoopBound(device, eventLoop: eventLoop)
                )
            } catch {
                device.shutdown()
                throw error
            }
        }.get()
        try await eventLoop.flatSubmit { host.storage.value.ready() }.get()
        return host
    }

    /// The storage; only on the event loop.
    package var service: LocalStorage { storage.value }

    /// Writes, syncs and snapshots everything, and ends the device's threads.
    package func stop() async throws {
        try await eventLoop.flatSubmit { [storage] in storage.value.close() }.get()
        try await eventLoop.submit { [device] in device.value.shutdown() }.get()
    }
}

/// Carries what the device's threads answer to the event loop.
private final class DeviceMailbox: Sendable {
    private struct State {
        var storage: NIOLoopBound<LocalStorage>?
        /// What came before there was somebody to tell.
        var early: [DeviceEvent] = []
    }

    private let eventLoop: any EventLoop
    private let state = Mutex(State())

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func connect(_ storage: NIOLoopBound<LocalStorage>) {
        let early = state.withLock { state in
            state.storage = storage
            defer { state.early = [] }
            return state.early
        }
        if !early.isEmpty { eventLoop.execute { storage.value.deviceEvents(early) } }
    }

    func put(_ events: [DeviceEvent]) {
        let storage = state.withLock { state in
            if state.storage == nil { state.early += events }
            return state.storage
        }
        guard let storage else { return }
        eventLoop.execute { storage.value.deviceEvents(events) }
    }
}
