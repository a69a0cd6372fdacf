import Dispatch
package import StorageEngine
import Synchronization

/// Collects what a device with threads answers, and waits for it.
package final class DeviceAnswers: Sendable {
    private let events = Mutex<[DeviceEvent]>([])
    private let arrivals = DispatchSemaphore(value: 0)
    /// Far more than any disk needs; a test that waits for so long has failed.
    private static let patience = DispatchTimeInterval.seconds(60)

    package init() {}

    /// What the device calls.
    package func add(_ new: [DeviceEvent]) {
        events.withLock { $0 += new }
        for _ in new { arrivals.signal() }
    }

    package var isEmpty: Bool { events.withLock { $0.isEmpty } }

    /// The next so many events; fewer if they do not come.
    package func take(_ count: Int) -> [DeviceEvent] {
        var taken: [DeviceEvent] = []
        while taken.count < count, arrivals.wait(timeout: .now() + Self.patience) == .success {
            taken.append(events.withLock { $0.removeFirst() })
        }
        return taken
    }

    /// The next event. One that does not come is a failed `segmentReady` of no segment.
    package func next(after request: () -> Void = {}) -> DeviceEvent {
        request()
        return take(1).first ?? .segmentReady(segment: .max, DeviceError(.failed, "no answer came"))
    }
}

extension DeviceEvent {
    /// The segment that was made; nil for any other event, and for a failure.
    package var readySegment: UInt64? {
        if case .segmentReady(let segment, nil) = self { return segment }
        return nil
    }

    package var syncedToken: UInt64? {
        if case .synced(let token, nil) = self { return token }
        return nil
    }

    package var readBytes: [UInt8]? {
        if case .read(_, .success(let bytes)) = self { return bytes }
        return nil
    }

    package var writtenFile: UInt64? {
        if case .fileWritten(let token, nil) = self { return token }
        return nil
    }

    package var failure: DeviceError? {
        switch self {
        case .segmentReady(_, let error), .synced(_, let error), .fileWritten(_, let error): return error
        case .read(_, .failure(let error)): return error
        case .read(_, .success): return nil
        }
    }
}

extension LogDevice {
    /// What a segment holds there, up to its end.
    package func bytes(of segment: UInt64, offset: Int, length: Int) throws(DeviceError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0xEE, count: length)
        let result: Result<Int, DeviceError> = bytes.withUnsafeMutableBytes { buffer in
            do throws(DeviceError) {
                return .success(try readNow(segment: segment, offset: offset, into: buffer))
            } catch {
                return .failure(error)
            }
        }
        return Array(bytes[..<(try result.get())])
    }
}
