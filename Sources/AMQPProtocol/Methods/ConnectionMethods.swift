import NIOCore

// The methods of class connection (AMQP 0-9-1 §1.4 of the reference): structs for those that a client sends, functions
// for those that the server writes.

package struct ConnectionStartOk: Sendable, Hashable {
    package var clientProperties: FieldTable
    package var mechanism: ShortString
    package var response: [UInt8]
    package var locale: ShortString

    package init(
        clientProperties: FieldTable = [:],
        mechanism: ShortString = "PLAIN",
        response: [UInt8],
        locale: ShortString = "en_US"
    ) {
        self.clientProperties = clientProperties
        self.mechanism = mechanism
        self.response = response
        self.locale = locale
    }

    init(_ reader: inout ByteReader, depth: Int) throws(WireError) {
        clientProperties = try reader.readTable(depth: depth)
        mechanism = try reader.readShortString()
        response = try reader.readLongString()
        locale = try reader.readShortString()
    }
}

/// The parameters of connection.tune and connection.tune-ok.
package struct ConnectionTuning: Sendable, Hashable {
    package var channelMaximum: UInt16
    package var frameMaximum: UInt32
    package var heartbeatSeconds: UInt16

    package init(channelMaximum: UInt16, frameMaximum: UInt32, heartbeatSeconds: UInt16) {
        self.channelMaximum = channelMaximum
        self.frameMaximum = frameMaximum
        self.heartbeatSeconds = heartbeatSeconds
    }

    init(_ reader: inout ByteReader) throws(WireError) {
        channelMaximum = try reader.readUInt16()
        frameMaximum = try reader.readUInt32()
        heartbeatSeconds = try reader.readUInt16()
    }

    func write(into output: inout ByteBuffer) {
        output.writeInteger(channelMaximum)
        output.writeInteger(frameMaximum)
        output.writeInteger(heartbeatSeconds)
    }
}

package struct ConnectionUpdateSecret: Sendable, Hashable {
    package var newSecret: [UInt8]
    package var reason: ShortString

    init(_ reader: inout ByteReader) throws(WireError) {
        newSecret = try reader.readLongString()
        reason = try reader.readShortString()
    }
}

/// connection.close and channel.close.
package struct CloseMethod: Sendable, Hashable {
    package var code: UInt16
    package var text: ShortString
    package var classID: UInt16
    package var methodID: UInt16

    package init(code: UInt16, text: ShortString, classID: UInt16 = 0, methodID: UInt16 = 0) {
        self.code = code
        self.text = text
        self.classID = classID
        self.methodID = methodID
    }

    init(_ error: AMQPError) {
        self.init(
            code: error.code.rawValue,
            text: ShortString(error.text),
            classID: error.method?.classID ?? 0,
            methodID: error.method?.methodID ?? 0
        )
    }

    init(_ reader: inout ByteReader) throws(WireError) {
        code = try reader.readUInt16()
        text = try reader.readShortString()
        classID = try reader.readUInt16()
        methodID = try reader.readUInt16()
    }

    func write(into output: inout ByteBuffer) {
        output.writeInteger(code)
        output.write(text)
        output.writeInteger(classID)
        output.writeInteger(methodID)
    }
}
