import Foundation
import Glibc
import MQTTProtocol
import NIOCore

/// Clients that connect, are accepted and leave, thirty-two at a time, by blocking calls: the cheapest generator there is.
struct ConnectStorm {
    var options: ServerOptions

    private static let atOnce = 32

    func measure() throws -> [Row] {
        var ours = Row(name: "MQTT connects", server: "sluice", runs: [])
        // 18,000 a second where one core does nothing else.
        ours.target = 55
        var peers = Row(name: "MQTT connects", server: "mosquitto", runs: [])
        for run in 1...options.runs {
            progress("MQTT connects: run \(run)")
            ours.runs.append(try measure(try ChildServer.sluice(options)))
            guard options.measuresMosquitto else { continue }
            peers.runs.append(try measure(try ChildServer.mosquitto(options)))
        }
        return peers.runs.isEmpty ? [ours] : [ours, peers]
    }

    private func measure(_ server: ChildServer) throws -> Measurement {
        defer { server.stop() }
        var clients = Clients(port: server.mqttPort)
        try clients.connect(for: options.warmUp)
        clients.latencies.reset()
        let start = server.probe.read()
        let count = try clients.connect(for: options.duration)
        var result = Measurement(messages: count, .init(from: start, to: server.probe.read()), clients.latencies)
        result.residentKiB = server.probe.residentKiB
        return result
    }

    private struct Clients {
        let port: Int
        var latencies = LatencyHistogram()
        private var number: UInt32 = 0

        init(port: Int) { self.port = port }

        @discardableResult
        mutating func connect(for seconds: Double) throws -> Int {
            let end = MonotonicClock.nanoseconds() + UInt64(seconds * 1e9)
            var count = 0
            var sockets: [Int32] = []
            while MonotonicClock.nanoseconds() < end {
                let start = MonotonicClock.nanoseconds()
                for _ in 0..<ConnectStorm.atOnce { sockets.append(try open()) }
                for socket in sockets {
                    var answer = [UInt8](repeating: 0, count: 16)
                    guard recv(socket, &answer, answer.count, 0) >= 4, answer[0] == 0x20, answer[3] == 0 else {
                        throw BenchmarkError("a client was not accepted")
                    }
                    latencies.add(nanoseconds: MonotonicClock.nanoseconds() - start)
                    let farewell: [UInt8] = [0xE0, 0]
                    _ = send(socket, farewell, farewell.count, Int32(MSG_NOSIGNAL))
                    close(socket)
                }
                count += sockets.count
                sockets.removeAll(keepingCapacity: true)
            }
            return count
        }

        /// A connection whose CONNECT is sent. Each comes from another address than the one before: a port of an address
        /// can be used again only after a minute.
        private mutating func open() throws -> Int32 {
            number &+= 1
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var late: Int32 = 1
            setsockopt(
                descriptor,
                Int32(IPPROTO_IP),
                IP_BIND_ADDRESS_NO_PORT,
                &late,
                socklen_t(MemoryLayout<Int32>.size)
            )
            let isOpen =
                ChildServer.withAddress(0, host: 0x7F00_0001 + number % 250) {
                    bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
                }
                && ChildServer.withAddress(port, host: 0x7F00_0001) {
                    Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
                }
            guard isOpen else { throw BenchmarkError("no connection: \(String(cString: strerror(errno)))") }
            var buffer = ByteBuffer()
            ConnectPacket(version: .v3_1_1, clientIdentifier: MQTTString("storm-\(number)")).encode(into: &buffer)
            buffer.withUnsafeReadableBytes { _ = send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            return descriptor
        }
    }
}
