import NIOCore

@testable import AMQPProtocol

// Frames as a client writes them.

func frame(_ type: UInt8, channel: UInt16 = 1, _ payload: [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = [type]
    bytes.appendBigEndian(channel)
    bytes.appendLong(payload)
    return bytes + [Frame.end]
}

func method(_ id: MethodID, channel: UInt16 = 1, _ arguments: [UInt8] = []) -> [UInt8] {
    var payload: [UInt8] = []
    payload.appendBigEndian(id.rawValue)
    return frame(1, channel: channel, payload + arguments)
}

func contentHeader(
    channel: UInt16 = 1,
    bodySize: UInt64,
    properties: [UInt8] = [0, 0],
    classID: UInt16 = 60
) -> [UInt8] {
    var payload: [UInt8] = []
    payload.appendBigEndian(classID)
    payload.appendBigEndian(UInt16(0))
    payload.appendBigEndian(bodySize)
    return frame(2, channel: channel, payload + properties)
}

func body(channel: UInt16 = 1, _ bytes: [UInt8]) -> [UInt8] { frame(3, channel: channel, bytes) }

func short(_ text: String) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendShort(text.utf8)
    return bytes
}

func long(_ content: some Collection<UInt8>) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendLong(content)
    return bytes
}

func integer(_ value: some FixedWidthInteger) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(value)
    return bytes
}

func table(_ table: FieldTable) -> [UInt8] { long(table.bytes) }

/// The method frame of basic.publish alone.
func publishMethod(
    channel: UInt16 = 1,
    _ exchange: String = "",
    _ key: String = "q",
    mandatory: Bool = false,
    immediate: Bool = false
) -> [UInt8] {
    let bits: UInt8 = (mandatory ? 1 : 0) | (immediate ? 2 : 0)
    return method(.basicPublish, channel: channel, [0, 0] + short(exchange) + short(key) + [bits])
}

/// basic.publish with content header and one body frame.
func publish(
    channel: UInt16 = 1,
    _ exchange: String = "",
    _ key: String = "q",
    _ text: String = "",
    properties: BasicProperties = BasicProperties(),
    mandatory: Bool = false
) -> [UInt8] {
    publishMethod(channel: channel, exchange, key, mandatory: mandatory)
        + contentHeader(channel: channel, bodySize: UInt64(text.utf8.count), properties: properties.encoded())
        + (text.isEmpty ? [] : body(channel: channel, Array(text.utf8)))
}

func ack(_ tag: UInt64, multiple: Bool = false, channel: UInt16 = 1) -> [UInt8] {
    method(.basicAck, channel: channel, integer(tag) + [multiple ? 1 : 0])
}

func nack(_ tag: UInt64, multiple: Bool = false, requeue: Bool = true) -> [UInt8] {
    method(.basicNack, integer(tag) + [(multiple ? 1 : 0) | (requeue ? 2 : 0)])
}

func reject(_ tag: UInt64, requeue: Bool = true) -> [UInt8] {
    method(.basicReject, integer(tag) + [requeue ? 1 : 0])
}

func declareQueue(
    _ name: String,
    passive: Bool = false,
    durable: Bool = false,
    noWait: Bool = false,
    arguments: FieldTable = [:]
) -> [UInt8] {
    let bits: UInt8 = (passive ? 1 : 0) | (durable ? 2 : 0) | (noWait ? 16 : 0)
    return method(.queueDeclare, [0, 0] + short(name) + [bits] + table(arguments))
}

func consume(_ queue: String, tag: String = "", noAck: Bool = false, noWait: Bool = false) -> [UInt8] {
    let bits: UInt8 = (noAck ? 2 : 0) | (noWait ? 8 : 0)
    return method(.basicConsume, [0, 0] + short(queue) + short(tag) + [bits] + table([:]))
}

func qos(_ count: UInt16, global: Bool = false, size: UInt32 = 0) -> [UInt8] {
    method(.basicQos, integer(size) + integer(count) + [global ? 1 : 0])
}

func startOk(
    mechanism: String = "PLAIN",
    response: [UInt8] = [0] + Array("guest".utf8) + [0] + Array("secret".utf8),
    capabilities: FieldTable = [:]
) -> [UInt8] {
    let properties: FieldTable = ["product": .string("test"), "capabilities": .table(capabilities)]
    return method(
        .connectionStartOk,
        channel: 0,
        table(properties) + short(mechanism) + long(response) + short("en_US")
    )
}

func tuneOk(channels: UInt16 = 0, frame: UInt32 = 0, heartbeat: UInt16 = 0) -> [UInt8] {
    method(.connectionTuneOk, channel: 0, integer(channels) + integer(frame) + integer(heartbeat))
}

func openHost(_ name: String = "/") -> [UInt8] {
    method(.connectionOpen, channel: 0, short(name) + short("") + [0])
}

func close(_ id: MethodID, channel: UInt16, code: UInt16 = 200, text: String = "bye") -> [UInt8] {
    method(id, channel: channel, integer(code) + short(text) + [0, 0, 0, 0])
}
