package import NIOCore

/// The newest version of one opcode's body that a side speaks.
package struct OpcodeVersion: Equatable, Sendable {
    package var opcode: UInt16
    package var version: UInt16
    package init(opcode: UInt16, version: UInt16) {
        self.opcode = opcode
        self.version = version
    }

    /// What this implementation speaks.
    package static let supported: [OpcodeVersion] = Opcode.allCases.filter(\.isSupported).map {
        OpcodeVersion(opcode: $0.rawValue, version: $0.version)
    }

    /// What of it is newer than version 1, which a client has to say.
    package static let newer: [OpcodeVersion] = supported.filter { $0.version > 1 }

    static func read(_ reader: inout WireReader) -> [OpcodeVersion]? {
        guard let count = reader.count16(each: 4) else { return nil }
        var result: [OpcodeVersion] = []
        result.reserveCapacity(count)
        for _ in 0..<count {
            guard let opcode = reader.u16(), let version = reader.u16() else { return nil }
            result.append(OpcodeVersion(opcode: opcode, version: version))
        }
        return result
    }

    static func write(_ versions: [OpcodeVersion], to buffer: inout ByteBuffer) {
        buffer.writeU16(UInt16(truncatingIfNeeded: versions.count))
        for entry in versions { buffer.writeMultipleIntegers(entry.opcode, entry.version, endianness: .little) }
    }
}

/// HELLO: the client's first frame.
package struct HelloRequest: Equatable, Sendable {
    /// The protocol revisions that the client can speak, both ends included.
    package var minVersion: UInt16
    package var maxVersion: UInt16
    /// Bits for what is optional; none are defined yet.
    package var features: UInt64
    /// The largest length field that the client accepts.
    package var maxFrameBytes: UInt32
    package var clientName: String
    package var clientVersion: String
    /// What the client speaks newer than version 1; one that is not listed is spoken in version 1.
    package var opcodes: [OpcodeVersion]

    package init(
        minVersion: UInt16 = NativeLimits.version,
        maxVersion: UInt16 = NativeLimits.version,
        features: UInt64 = 0,
        maxFrameBytes: UInt32 = UInt32(NativeLimits.frameBytes),
        clientName: String,
        clientVersion: String,
        opcodes: [OpcodeVersion] = []
    ) {
        self.minVersion = minVersion
        self.maxVersion = maxVersion
        self.features = features
        self.maxFrameBytes = maxFrameBytes
        self.clientName = clientName
        self.clientVersion = clientVersion
        self.opcodes = opcodes
    }

    package init?(_ reader: inout WireReader) {
        guard let minVersion = reader.u16(), let maxVersion = reader.u16(), let features = reader.u64(),
            let maxFrameBytes = reader.u32(),
            let clientName = reader.text(limit: NativeLimits.labelBytes),
            let clientVersion = reader.text(limit: NativeLimits.labelBytes),
            let opcodes = OpcodeVersion.read(&reader)
        else { return nil }
        self.init(
            minVersion: minVersion,
            maxVersion: maxVersion,
            features: features,
            maxFrameBytes: maxFrameBytes,
            clientName: clientName,
            clientVersion: clientVersion,
            opcodes: opcodes
        )
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(minVersion, maxVersion, features, maxFrameBytes, endianness: .little)
        buffer.writeText(clientName)
        buffer.writeText(clientVersion)
        OpcodeVersion.write(opcodes, to: &buffer)
    }
}

/// The answer to HELLO: what the server is and what it allows.
package struct HelloResponse: Equatable, Sendable {
    package struct ServerLimits: Equatable, Sendable {
        /// The largest length field that the server accepts.
        package var maxFrameBytes: UInt32 = UInt32(NativeLimits.frameBytes)
        package var maxOutstandingRequests: UInt32 = UInt32(NativeLimits.outstandingRequests)
        package var maxHandles: UInt32 = UInt32(NativeLimits.handles)
        /// A side that has heard nothing for so long sends a PING, and closes after as long again without a byte.
        package var idleTimeoutMs: UInt32 = 30_000
        package var maxBatchBytes: UInt32 = 16 << 20
        package var maxBatchRecords: UInt32 = 65_535
        package var maxCreditMessages: UInt64 = NativeLimits.creditMessages
        package var maxCreditBytes: UInt64 = NativeLimits.creditBytes
        package init() {}
    }

    /// The revision that is spoken from here on.
    package var version: UInt16
    package var features: UInt64
    package var limits: ServerLimits
    package var serverName: String
    package var serverVersion: String
    package var opcodes: [OpcodeVersion]

    package init(
        version: UInt16 = NativeLimits.version,
        features: UInt64 = 0,
        limits: ServerLimits = ServerLimits(),
        serverName: String,
        serverVersion: String,
        opcodes: [OpcodeVersion] = OpcodeVersion.supported
    ) {
        self.version = version
        self.features = features
        self.limits = limits
        self.serverName = serverName
        self.serverVersion = serverVersion
        self.opcodes = opcodes
    }

    package init?(_ reader: inout WireReader) {
        guard let version = reader.u16(), let features = reader.u64() else { return nil }
        var limits = ServerLimits()
        guard let maxFrameBytes = reader.u32(), let maxOutstandingRequests = reader.u32(),
            let maxHandles = reader.u32(), let idleTimeoutMs = reader.u32(), let maxBatchBytes = reader.u32(),
            let maxBatchRecords = reader.u32(), let maxCreditMessages = reader.u64(), let maxCreditBytes = reader.u64(),
            let serverName = reader.text(limit: NativeLimits.labelBytes),
            let serverVersion = reader.text(limit: NativeLimits.labelBytes),
            let opcodes = OpcodeVersion.read(&reader)
        else { return nil }
        limits.maxFrameBytes = maxFrameBytes
        limits.maxOutstandingRequests = maxOutstandingRequests
        limits.maxHandles = maxHandles
        limits.idleTimeoutMs = idleTimeoutMs
        limits.maxBatchBytes = maxBatchBytes
        limits.maxBatchRecords = maxBatchRecords
        limits.maxCreditMessages = maxCreditMessages
        limits.maxCreditBytes = maxCreditBytes
        self.init(
            version: version,
            features: features,
            limits: limits,
            serverName: serverName,
            serverVersion: serverVersion,
            opcodes: opcodes
        )
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(version, features, endianness: .little)
        buffer.writeMultipleIntegers(
            limits.maxFrameBytes,
            limits.maxOutstandingRequests,
            limits.maxHandles,
            limits.idleTimeoutMs,
            limits.maxBatchBytes,
            limits.maxBatchRecords,
            limits.maxCreditMessages,
            limits.maxCreditBytes,
            endianness: .little
        )
        buffer.writeText(serverName)
        buffer.writeText(serverVersion)
        OpcodeVersion.write(opcodes, to: &buffer)
    }
}
