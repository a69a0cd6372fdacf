internal import HTTPTypes
internal import HummingbirdCore
internal import MessageModel
internal import NIOCore

/// One request with the connection that it came by.
final class HTTPCall {
    /// The request ended before it was complete.
    struct Aborted: Error {}

    let request: Request
    private let channel: any Channel
    private let maxBodyBytes: Int
    private let budget: BodyBudget
    /// Taken from the budget until the request is over.
    private var taken = 0
    private var hasReadBody = false
    /// A body that nobody reads is read and dropped for the next request's sake up to this size.
    private static let droppedBodyBytes = 64 << 10

    init(request: Request, channel: any Channel, maxBodyBytes: Int, budget: BodyBudget) {
        self.request = request
        self.channel = channel
        self.maxBodyBytes = maxBodyBytes
        self.budget = budget
    }

    deinit { budget.giveBack(taken) }

    var fields: HTTPFields { request.headers }

    private var contentLength: Int? { request.headers[.contentLength].flatMap(Int.init) }

    /// Whether too much of the body is still to come for the connection to go on.
    var leavesBody: Bool {
        guard !hasReadBody else { return false }
        // One who was not told to continue may send the body or may not.
        if request.headers[.transferEncoding] != nil || request.headers[.expect] != nil { return true }
        return (contentLength ?? 0) > Self.droppedBodyBytes
    }

    /// Checks the method; HEAD goes where GET goes.
    @discardableResult
    func check(_ methods: [HTTPRequest.Method]) throws(Problem) -> HTTPRequest.Method {
        let method = request.method == .head ? .get : request.method
        guard methods.contains(method) else {
            var problem = Problem(
                .notSupported,
                "\(request.method.rawValue) is not possible here",
                status: 405,
                title: "Method not allowed"
            )
            problem.allow = methods.flatMap { $0 == .get ? ["GET", "HEAD"] : [$0.rawValue] }
            throw problem
        }
        return method
    }

    /// The content type without its parameters, in lower case; empty where there is none.
    var mediaType: String {
        guard let type = request.headers[.contentType] else { return "" }
        let plain = type.prefix { $0 != ";" }.lowercased()
        return String(plain.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }

    /// Reads the body.
    /// - Throws: `Problem` (413) as soon as it is known to be too large, before the rest is read.
    func body() async throws -> [UInt8] {
        if let contentLength, contentLength > maxBodyBytes { throw tooLarge() }
        // Memory is taken as the bytes come, not as they are announced.
        var bytes: [UInt8] = []
        do {
            for try await part in request.body {
                guard bytes.count + part.readableBytes <= maxBodyBytes else { throw tooLarge() }
                guard budget.take(part.readableBytes) else {
                    throw Problem(.busy, "too many large requests at once", hint: "send it again later")
                }
                taken += part.readableBytes
                bytes.append(contentsOf: part.readableBytesView)
            }
        } catch let problem as Problem {
            throw problem
        } catch {
            throw Aborted()
        }
        // A body that ends because the connection does looks like one that is complete.
        if let contentLength {
            guard bytes.count == contentLength else { throw Aborted() }
        } else if request.headers[.transferEncoding] != nil {
            guard try await withGuard({ $0.hasReadRequest }) else { throw Aborted() }
        }
        hasReadBody = true
        return bytes
    }

    private func tooLarge() -> Problem {
        Problem(.tooLarge, "the body is larger than \(maxBodyBytes) bytes", hint: "send fewer messages at once")
    }

    /// Runs `body` as a task that is cancelled when the other side closes the connection.
    func untilGone<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
        let task = Task { try await body() }
        defer { task.cancel() }
        return try await withTaskCancellationHandler {
            try await withGuard { $0.notifyWhenGone { task.cancel() } }
            let result = await task.result
            try await withGuard { $0.forgetNotification() }
            return try result.get()
        } onCancel: {
            task.cancel()
        }
    }

    private func withGuard<Value: Sendable>(_ body: @escaping @Sendable (ConnectionGuard) -> Value) async throws
        -> Value
    {
        let channel = channel
        return try await channel.eventLoop.submit {
            do {
                return try body(channel.pipeline.syncOperations.handler(type: ConnectionGuard.self))
            } catch {
                throw Aborted()
            }
        }.get()
    }
}
