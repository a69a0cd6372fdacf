import NIOCore
import Testing

@testable import AMQPProtocol

/// What a client does wrong, and the frame with which it is answered.
struct Mistake: CustomTestStringConvertible, Sendable {
    var testDescription: String
    var bytes: [UInt8]
    var answer: String

    init(_ description: String, _ bytes: [UInt8], _ answer: String) {
        testDescription = description
        self.bytes = bytes
        self.answer = answer
    }
}

@Suite("Reply codes")
struct ReplyCodeTests {
    static let snippet = "type 3, all octets = <<\"abc\">>"

    static let connectionErrors: [Mistake] = [
        Mistake(
            "unknown frame type",
            frame(9, Array("abc".utf8)),
            "501 FRAME_ERROR - type 9, all octets = <<\"abc\">>: unknown_frame [0,0]"
        ),
        Mistake(
            "heartbeat with a payload",
            frame(8, channel: 0, [1]),
            "501 FRAME_ERROR - type 8, all octets = <<1>>: unknown_frame [0,0]"
        ),
        Mistake(
            "method frame too short for a method",
            frame(1, [0, 10]),
            "501 FRAME_ERROR - type 1, all octets = <<0,10>>: unknown_frame [0,0]"
        ),
        Mistake(
            "frame above the frame size",
            [3, 0, 1] + integer(UInt32(200_000)),
            "501 FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,200000,131064} [0,0]"
        ),
        Mistake(
            "wrong frame end",
            Array(frame(1, [0, 20]).dropLast()) + [0],
            "501 FRAME_ERROR - type 1, all octets = <<0,20>>: {invalid_frame_end_marker,0} [0,0]"
        ),
        Mistake(
            "truncated arguments",
            method(.queueDeclare, [0, 0, 5, 0x71]),
            "501 FRAME_ERROR - cannot decode <<0,0,5,113>> [50,10]"
        ),
        Mistake("truncated publish", method(.basicPublish, [0, 0]), "501 FRAME_ERROR - cannot decode <<0,0>> [60,40]"),
        Mistake("truncated ack", method(.basicAck, [1]), "501 FRAME_ERROR - cannot decode <<1>> [60,80]"),
        Mistake(
            "malformed table",
            method(.queueDeclare, [0, 0] + short("q") + [0] + long([1, 0x61, 0x5A] as [UInt8])),
            "502 SYNTAX_ERROR - malformed field table [50,10]"
        ),
        Mistake(
            "properties cut short",
            publishMethod() + contentHeader(bodySize: 0, properties: [0x80, 0, 9]),
            "501 FRAME_ERROR - cannot decode content properties [60,40]"
        ),
        Mistake(
            "property flags that do not exist",
            publishMethod() + contentHeader(bodySize: 0, properties: [0, 1]),
            "502 SYNTAX_ERROR - unknown property flags [60,40]"
        ),
        Mistake(
            "body beyond what its header said",
            publishMethod() + contentHeader(bodySize: 2) + body([1, 2, 3]),
            "501 FRAME_ERROR - content body frame exceeds remaining content size [60,40]"
        ),
        Mistake(
            "absurd body size",
            publishMethod() + contentHeader(bodySize: .max),
            "501 FRAME_ERROR - content body size 18446744073709551615 exceeds maximum allowed size 536870912 [60,40]"
        ),
        Mistake("unknown method", frame(1, [0, 60, 0, 99]), "503 COMMAND_INVALID - unknown method 60,99 [0,0]"),
        Mistake("a server's method", method(.basicDeliver), "503 COMMAND_INVALID - unimplemented method [60,60]"),
        Mistake(
            "method on a channel never opened",
            method(.basicQos, channel: 2, [0, 0, 0, 0, 0, 0, 0]),
            "504 CHANNEL_ERROR - expected 'channel.open' [60,10]"
        ),
        Mistake(
            "publish on a channel never opened",
            publish(channel: 2),
            "504 CHANNEL_ERROR - expected 'channel.open' [60,40]"
        ),
        Mistake(
            "channel opened twice",
            method(.channelOpen, short("")),
            "504 CHANNEL_ERROR - second 'channel.open' seen [20,10]"
        ),
        Mistake(
            "channel 0 opened",
            method(.channelOpen, channel: 0, short("")),
            "504 CHANNEL_ERROR - unexpected method in connection state running [20,10]"
        ),
        Mistake(
            "handshake again",
            tuneOk(),
            "504 CHANNEL_ERROR - unexpected method in connection state running [10,31]"
        ),
        Mistake(
            "body before header",
            publishMethod() + body(Array("abc".utf8)),
            "505 UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead [60,40]"
        ),
        Mistake(
            "method amid content",
            publishMethod() + contentHeader(bodySize: 1) + ack(1),
            "505 UNEXPECTED_FRAME - expected content body, got non content body frame instead [60,40]"
        ),
        Mistake(
            "method in place of the header",
            publishMethod() + publishMethod(),
            "505 UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead [60,40]"
        ),
        Mistake(
            "header without publish",
            contentHeader(bodySize: 1),
            "505 UNEXPECTED_FRAME - expected method frame, got non method frame instead [0,0]"
        ),
        Mistake(
            "body without publish",
            body([1]),
            "505 UNEXPECTED_FRAME - expected method frame, got non method frame instead [0,0]"
        ),
        Mistake(
            "header on a channel never opened",
            contentHeader(channel: 5, bodySize: 1),
            "505 UNEXPECTED_FRAME - expected method frame, got non method frame instead [0,0]"
        ),
        Mistake(
            "header of another class",
            publishMethod() + contentHeader(bodySize: 1, classID: 50),
            "505 UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead [60,40]"
        ),
        Mistake("heartbeat on channel 1", frame(8, []), "505 UNEXPECTED_FRAME - type 8, all octets = <<>> [0,0]"),
        Mistake("body on channel 0", body(channel: 0, Array("abc".utf8)), "505 UNEXPECTED_FRAME - \(snippet) [0,0]"),
        Mistake(
            "consumer tag reused",
            consume("q", tag: "c", noWait: true) + consume("q", tag: "c"),
            "530 NOT_ALLOWED - attempt to reuse consumer tag 'c' [60,20]"
        ),
        Mistake(
            "immediate",
            publishMethod(immediate: true) + contentHeader(bodySize: 0),
            "540 NOT_IMPLEMENTED - immediate=true [60,40]"
        ),
        Mistake("prefetch size", qos(1, size: 5), "540 NOT_IMPLEMENTED - prefetch_size!=0 (5) [60,10]"),
        Mistake("recover without requeue", method(.basicRecover, [0]), "540 NOT_IMPLEMENTED - requeue=false [60,110]"),
        Mistake("flow stopped", method(.channelFlow, [0]), "540 NOT_IMPLEMENTED - active=false [20,20]"),
    ]

    @Test("mistakes that end the connection", arguments: connectionErrors)
    func connection(_ mistake: Mistake) {
        var transcript = Transcript.open()
        var actions = transcript.receives(mistake.bytes)
        if actions.last == .paused {
            transcript.machine[channel: 1]?.consumed(source: 0, output: &transcript.output)
            actions = transcript.goesOn()
        }
        guard case .failed(let error) = actions.last else {
            Issue.record("\(actions)")
            return
        }
        #expect(error.closesConnection)
        #expect(transcript.sent() == ["0 connectionClose \(mistake.answer)"])
        #expect(transcript.receives(publish() + ack(1)) == [])
        #expect(transcript.published == [])
    }

    static let channelErrors: [Mistake] = [
        Mistake("unknown delivery tag", ack(7), "406 PRECONDITION_FAILED - unknown delivery tag 7 [60,80]"),
        Mistake("tag 0 alone", ack(0), "406 PRECONDITION_FAILED - unknown delivery tag 0 [60,80]"),
        Mistake(
            "unknown tag, several",
            nack(3, multiple: true),
            "406 PRECONDITION_FAILED - unknown delivery tag 3 [60,120]"
        ),
        Mistake("unknown tag, rejected", reject(3), "406 PRECONDITION_FAILED - unknown delivery tag 3 [60,90]"),
        Mistake(
            "message too large",
            publishMethod() + contentHeader(bodySize: 16_777_217) + body([1]),
            "406 PRECONDITION_FAILED - message size 16777217 is larger than configured max size 16777216 [60,40]"
        ),
        Mistake(
            "bad expiration",
            publish(properties: { $0.expiration = "x" }),
            "406 PRECONDITION_FAILED - invalid expiration 'x': no_integer [60,40]"
        ),
        Mistake(
            "direct reply without a consumer",
            publish(properties: { $0.replyTo = "amq.rabbitmq.reply-to" }),
            "406 PRECONDITION_FAILED - fast reply consumer does not exist [60,40]"
        ),
        Mistake(
            "direct reply consumer that acknowledges",
            consume("amq.rabbitmq.reply-to"),
            "406 PRECONDITION_FAILED - reply consumer cannot acknowledge [60,20]"
        ),
        Mistake(
            "commit without transaction",
            method(.txCommit),
            "406 PRECONDITION_FAILED - channel is not transactional [90,20]"
        ),
        Mistake(
            "rollback without transaction",
            method(.txRollback),
            "406 PRECONDITION_FAILED - channel is not transactional [90,30]"
        ),
        Mistake("no queue was declared", consume(""), "404 NOT_FOUND - no previously declared queue [60,20]"),
        Mistake(
            "default exchange declared",
            method(.exchangeDeclare, [0, 0] + short("") + short("direct") + [0] + table([:])),
            "403 ACCESS_REFUSED - operation not permitted on the default exchange [40,10]"
        ),
        Mistake(
            "default exchange deleted",
            method(.exchangeDelete, [0, 0] + short("") + [0]),
            "403 ACCESS_REFUSED - operation not permitted on the default exchange [40,20]"
        ),
        Mistake(
            "system exchange deleted",
            method(.exchangeDelete, [0, 0] + short("amq.topic") + [0]),
            "403 ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed [40,20]"
        ),
        Mistake(
            "queue bound to the default exchange",
            method(.queueBind, [0, 0] + short("q") + short("") + short("k") + [0] + table([:])),
            "403 ACCESS_REFUSED - operation not permitted on the default exchange [50,20]"
        ),
        Mistake(
            "reserved queue name",
            declareQueue("amq.mine"),
            "403 ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*' [50,10]"
        ),
    ]

    @Test("mistakes that end the channel alone", arguments: channelErrors)
    func channel(_ mistake: Mistake) {
        var transcript = Transcript.open()
        _ = transcript.receives(method(.channelOpen, channel: 2, short("")))
        _ = transcript.sent()
        guard case .channel(1, .failed(let error)) = transcript.receives(mistake.bytes).last else {
            Issue.record("no channel error")
            return
        }
        #expect(!error.closesConnection)
        #expect(transcript.sent() == ["1 channelClose \(mistake.answer)"])
        // What is under way on the channel is thrown away, the other channel lives, the number can be used again.
        #expect(transcript.receives(publish() + body([9]) + ack(4) + declareQueue("x")) == [])
        #expect(transcript.receives(publish(channel: 2)).count == 1)
        #expect(
            transcript.receives(method(.channelCloseOk) + method(.channelOpen, short("")) + publish()).count == 2
        )
        #expect(transcript.sent() == ["1 channelOpenOk"])
    }

    @Test(
        "a refusal of the owner blames the method that waits",
        arguments: [
            (AMQPError.noQueue("q", virtualHost: "/"), "404 NOT_FOUND - no queue 'q' in vhost '/' [50,10]"),
            (
                AMQPError.lockedQueue("q", virtualHost: "/"),
                "405 RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be "
                    + "originally declared on another connection or the exclusive property value does not match that of "
                    + "the original declaration. [50,10]"
            ),
            (
                AMQPError.inequivalentQueue(
                    "q",
                    virtualHost: "/",
                    argument: "durable",
                    received: "false",
                    current: "true"
                ),
                "406 PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but "
                    + "current is 'true' [50,10]"
            ),
            (
                AMQPError.accessRefused("configure", toQueue: "q", virtualHost: "/", user: "u"),
                "403 ACCESS_REFUSED - configure access to queue 'q' in vhost '/' refused for user 'u' [50,10]"
            ),
        ]
    )
    func refusals(_ error: AMQPError, _ answer: String) {
        var transcript = Transcript.open()
        _ = transcript.receives(declareQueue("q", noWait: true))
        _ = transcript.fails(error)
        #expect(transcript.sent() == ["1 channelClose \(answer)"])
    }

    @Test("an internal error ends the connection from a channel, and only this connection")
    func internalError() {
        var transcript = Transcript.open()
        _ = transcript.receives(declareQueue("q"))
        _ = transcript.fails(AMQPError(.internalError, "storage"))
        #expect(transcript.sent() == ["0 connectionClose 541 INTERNAL_ERROR - storage [50,10]"])
    }

    @Test("a long reply text is cut to a short string")
    func longText() {
        let error = AMQPError(.notFound, String(repeating: "x", count: 300))
        #expect(error.text.utf8.count == 255)
        #expect(error.text.hasSuffix("x..."))
    }

    @Test("more channels than agreed upon are 530, whatever their numbers")
    func channelMaximum() {
        var transcript = Transcript.open(channels: 2, channel: 60_000)
        _ = transcript.receives(method(.channelOpen, channel: 2_000, short("")))
        #expect(transcript.sent() == ["2000 channelOpenOk"])
        _ = transcript.receives(method(.channelOpen, channel: 3, short("")))
        let text = "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)"
        #expect(transcript.sent() == ["0 connectionClose 530 \(text) [20,10]"])
    }
}

/// A publish with a body of one byte and changed properties.
private func publish(properties change: (inout BasicProperties) -> Void) -> [UInt8] {
    var properties = BasicProperties()
    change(&properties)
    return publish("", "q", "x", properties: properties)
}
