import Gateway
import LocalStorage
import Logging
import NIOCore
import NIOPosix
import StorageEngine
import StorageService
import Testing

@testable import HTTPFront

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// The HTTP front on a real storage in a directory of its own.
struct HTTPTestServer: Sendable {
    let server: HTTPServer
    let host: StorageHost

    var port: Int { server.port }

    /// Starts a server, calls `body` with it, and stops it.
    static func run(
        options: HTTPOptions = HTTPOptions(),
        stops: Bool = true,
        _ body: (HTTPTestServer) async throws -> Void
    ) async throws {
        let path = "/tmp/sluice-http-\(UInt64.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: path) }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        var shard = ShardOptions()
        shard.segmentBytes = 4 << 20
        let host = try await StorageHost.start(shardPath: path, options: shard, eventLoop: loop, logger: logger)
        let gateway = try await loop.submit {
            NIOLoopBound(Gateway(storage: host.service), eventLoop: loop)
        }.get()
        let server = try await HTTPServer.start(
            host: "127.0.0.1",
            port: 0,
            group: group,
            gateway: gateway,
            eventLoop: loop,
            options: options,
            logger: logger
        )
        var failure: (any Error)?
        do { try await body(HTTPTestServer(server: server, host: host)) } catch { failure = error }
        if stops { await server.stop() }
        try await host.stop()
        try await group.shutdownGracefully()
        if let failure { throw failure }
    }

    /// Waits until so many reads wait.
    func waitForWaits(_ count: Int) async throws {
        while await server.waitingReads != count { try await Task.sleep(for: .milliseconds(1)) }
    }

    /// A second front on the same gateway.
    func startAnother(port: Int) async throws -> HTTPServer {
        let loop = host.eventLoop
        let gateway = try await loop.submit { [host] in
            NIOLoopBound(Gateway(storage: host.service), eventLoop: loop)
        }.get()
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return try await HTTPServer.start(
            host: "127.0.0.1",
            port: port,
            group: loop,
            gateway: gateway,
            eventLoop: loop,
            logger: logger
        )
    }

    /// One request on a connection of its own.
    func request(
        _ method: String,
        _ target: String,
        _ fields: [String: String] = [:],
        body: String = ""
    ) async throws -> HTTPTestReply {
        try await HTTPTestConnection.open(port: port) { connection in
            try await connection.send(HTTPTestConnection.text(method, target, fields, body: body))
            return try await connection.reply(hasBody: method != "HEAD")
        }
    }

    /// Publishes one message in the plain form and returns its offset.
    @discardableResult
    func publish(_ target: String, _ body: String, _ fields: [String: String] = [:]) async throws -> Int {
        let reply = try await request("POST", target, fields.merging(["content-type": "text/plain"]) { $1 }, body: body)
        #expect(reply.status == 201, "\(reply.body)")
        return try #require(try reply.json["offset"] as? Int)
    }
}

struct HTTPTestReply {
    var status: Int
    var fields: [String: String]
    var body: String

    /// The body as a JSON object.
    var json: [String: Any] {
        get throws { try #require(JSONValue.parse(body) as? [String: Any], "\(body)") }
    }

    var code: String? { get throws { try json["code"] as? String } }
    var messages: [[String: Any]] { get throws { try #require(try json["messages"] as? [[String: Any]]) } }
}

/// A connection over which a test speaks HTTP by hand.
final class HTTPTestConnection {
    enum Failure: Error { case closed }

    private var inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
    private let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    private var received: [UInt8] = []

    private init(
        _ inbound: NIOAsyncChannelInboundStream<ByteBuffer>,
        _ outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    ) {
        self.inbound = inbound.makeAsyncIterator()
        self.outbound = outbound
    }

    static func open<Value: Sendable>(
        port: Int,
        _ body: @Sendable (HTTPTestConnection) async throws -> Value
    ) async throws -> Value {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(
                        wrappingChannelSynchronously: channel,
                        configuration: .init(isOutboundHalfClosureEnabled: true)
                    )
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            try await body(HTTPTestConnection(inbound, outbound))
        }
    }

    static func text(_ method: String, _ target: String, _ fields: [String: String] = [:], body: String = "") -> String
    {
        var text = "\(method) \(target) HTTP/1.1\r\nhost: test\r\n"
        for (name, value) in fields { text += "\(name): \(value)\r\n" }
        if !body.isEmpty { text += "content-length: \(body.utf8.count)\r\n" }
        return text + "\r\n" + body
    }

    func send(_ text: String) async throws { try await outbound.write(ByteBuffer(string: text)) }

    func finish() { outbound.finish() }

    /// Reads the head of an answer, and its body where it has one.
    func reply(hasBody: Bool = true) async throws -> HTTPTestReply {
        var end = headEnd
        while end == nil {
            try await receive()
            end = headEnd
        }
        let headLength = try #require(end)
        let head = String(decoding: received[..<headLength], as: UTF8.self)
        received.removeFirst(headLength)
        let lines = head.split(separator: "\r\n")
        let status = try #require(Int(lines[0].split(separator: " ")[1]))
        var fields: [String: String] = [:]
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            fields[parts[0].lowercased()] = String(parts[1].dropFirst())
        }
        let length = hasBody ? Int(fields["content-length"] ?? "0") ?? 0 : 0
        while received.count < length { try await receive() }
        let body = String(decoding: received[..<length], as: UTF8.self)
        received.removeFirst(length)
        return HTTPTestReply(status: status, fields: fields, body: body)
    }

    /// The length of the head that is there, with the empty line behind it.
    private var headEnd: Int? {
        let mark = Array("\r\n\r\n".utf8)
        guard received.count >= mark.count else { return nil }
        return (mark.count...received.count).first { received[($0 - mark.count)..<$0].elementsEqual(mark) }
    }

    /// Whether the other side closes the connection without another byte.
    func isClosed() async throws -> Bool { try await inbound.next() == nil && received.isEmpty }

    private func receive() async throws {
        guard let bytes = try await inbound.next() else { throw Failure.closed }
        received.append(contentsOf: bytes.readableBytesView)
    }
}

/// Reads JSON into dictionaries and arrays, for tests.
enum JSONValue {
    static func parse(_ text: String) -> Any? {
        Array(text.utf8).withUnsafeBytes { bytes in
            var reader = JSONReader(bytes)
            guard let value = try? value(&reader, bytes), (try? reader.end()) != nil else { return nil }
            return value
        }
    }

    private static func value(_ reader: inout JSONReader, _ bytes: UnsafeRawBufferPointer) throws -> Any {
        switch try reader.peek() {
        case .string: return try reader.readString("")
        case .object:
            var result: [String: Any] = [:]
            try reader.readObject("") { reader, name throws(JSONError) in
                do { result[name] = try value(&reader, bytes) } catch { throw reader.invalid("\(error)") }
            }
            return result
        case .array:
            var result: [Any] = []
            try reader.readArray("") { reader, _ throws(JSONError) in
                do { result.append(try value(&reader, bytes)) } catch { throw reader.invalid("\(error)") }
            }
            return result
        case .number, .bool, .null:
            let text = String(decoding: bytes[try reader.skip()], as: UTF8.self)
            return Int(text) ?? Double(text) ?? (text == "null" ? "null" : text == "true") as Any
        }
    }
}
