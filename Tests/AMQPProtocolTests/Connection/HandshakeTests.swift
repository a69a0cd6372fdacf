import NIOCore
import Testing

@testable import AMQPProtocol

@Suite("Handshake")
struct HandshakeTests {
    func started(_ options: AMQPServerOptions = AMQPServerOptions()) -> Transcript {
        var transcript = Transcript(options)
        #expect(transcript.receives(ProtocolHeader.bytes) == [])
        return transcript
    }

    func authenticated(_ options: AMQPServerOptions = AMQPServerOptions()) -> Transcript {
        var transcript = started(options)
        _ = transcript.receives(startOk())
        transcript.machine.authenticated(output: &transcript.output)
        _ = transcript.sent()
        return transcript
    }

    @Test("another protocol is told which one is spoken here")
    func otherProtocol() {
        for bytes: [UInt8] in [Array("GET / HTTP/1.1\r\n".utf8), [0x41, 0x4D, 0x51, 0x50, 3, 1, 0, 0], [0x10, 0x0C]] {
            var transcript = Transcript()
            #expect(transcript.receives(bytes) == [.close(.unknownProtocol)])
            #expect(Array(transcript.output.readableBytesView) == ProtocolHeader.bytes)
        }
    }

    @Test("connection.start carries product, version and the nine capabilities, and says what is behind them")
    func serverProperties() throws {
        var transcript = started()
        let frame = try #require(transcript.sentFrames().first)
        #expect(frame.id == .connectionStart && frame.channel == 0)
        #expect(frame.payload[4...5] == [0, 9])
        var reader = frame.payload.withUnsafeBytes { Array($0[6...]) }[...]
        let length = reader.prefix(4).reduce(0) { $0 << 8 | Int($1) }
        reader = reader.dropFirst(4)
        let properties = try #require(FieldTable(encoded: Array(reader.prefix(length))))
        #expect(properties["product"] == .string("RabbitMQ"))
        #expect(properties["version"]?.stringBytes?.first == UInt8(ascii: "4"))
        #expect(properties["gateway"] == .string("Sluice"))
        guard case .table(let capabilities) = properties["capabilities"] else {
            Issue.record("no capabilities")
            return
        }
        #expect(capabilities.fields.count == 9)
        #expect(capabilities.fields.allSatisfy { $0.value == .boolean(true) })
        let rest = Array(reader.dropFirst(length))
        #expect(rest == long("PLAIN AMQPLAIN".utf8) + long("en_US".utf8))
    }

    @Test("the whole way to an open virtual host")
    func whole() {
        var transcript = started()
        _ = transcript.sent()
        guard case .authenticate(let response) = transcript.receives(startOk()).first else {
            Issue.record("no authentication")
            return
        }
        #expect(response.credentials == .password(user: Array("guest".utf8), password: Array("secret".utf8)))
        transcript.machine.authenticated(output: &transcript.output)
        let frames = transcript.sentFrames()
        #expect(frames.map(\.id) == [.connectionTune])
        #expect(frames[0].payload == [0, 10, 0, 30, 7, 255, 0, 2, 0, 0, 0, 60])
        #expect(
            transcript.receives(tuneOk(channels: 10, frame: 8_192, heartbeat: 5) + openHost("a/b"))
                == [.openVirtualHost("a/b"), .paused]
        )
        #expect(
            transcript.machine.tuning == ConnectionTuning(channelMaximum: 10, frameMaximum: 8_192, heartbeatSeconds: 5)
        )
        transcript.machine.openedVirtualHost(output: &transcript.output)
        #expect(transcript.sent() == ["0 connectionOpenOk"])
        #expect(transcript.machine.isRunning)
        #expect(transcript.machine.virtualHost == "a/b")
    }

    @Test("what a client sends ahead of the answers waits for them")
    func pipelined() {
        var transcript = Transcript()
        let all = ProtocolHeader.bytes + startOk() + tuneOk() + openHost() + method(.channelOpen, short(""))
        #expect(transcript.receives(all).count == 2)
        transcript.machine.authenticated(output: &transcript.output)
        #expect(transcript.goesOn() == [.openVirtualHost("/"), .paused])
        transcript.machine.openedVirtualHost(output: &transcript.output)
        #expect(transcript.goesOn() == [.channelOpened(1)])
        #expect(
            transcript.sent() == [
                "0 connectionStart", "0 connectionTune", "0 connectionOpenOk", "1 channelOpenOk",
            ]
        )
    }

    @Test("AMQPLAIN and EXTERNAL, where they are offered, and a challenge")
    func mechanisms() {
        var options = AMQPServerOptions()
        options.mechanisms = [.plain, .amqplain, .external]
        let login: FieldTable = ["LOGIN": .string("u"), "PASSWORD": .string("p")]
        var transcript = started(options)
        guard
            case .authenticate(let amqplain) = transcript.receives(
                startOk(mechanism: "AMQPLAIN", response: login.bytes)
            ).first
        else {
            Issue.record("AMQPLAIN")
            return
        }
        #expect(amqplain.credentials == .password(user: [0x75], password: [0x70]))
        transcript = started(options)
        guard case .authenticate(let external) = transcript.receives(startOk(mechanism: "EXTERNAL", response: [])).first
        else {
            Issue.record("EXTERNAL")
            return
        }
        #expect(external.credentials == .external)
        transcript.machine.challenge([1], output: &transcript.output)
        #expect(transcript.sent() == ["0 connectionStart", "0 connectionSecure"])
        let again = transcript.receives(method(.connectionSecureOk, channel: 0, long([UInt8]())))
        #expect(again.first == .authenticate(external))
    }

    @Test(
        "what is wrong before the client is known ends in silence",
        arguments: [
            startOk(mechanism: "KERBEROS"), startOk(response: Array("guest".utf8)),
            startOk(mechanism: "AMQPLAIN", response: [1, 2]), startOk(mechanism: "EXTERNAL"), tuneOk(), openHost(),
            method(.queueDeclare, channel: 0), frame(9, channel: 0, []), method(.channelOpen, short("")),
            frame(1, channel: 0, [0, 10, 0, 11, 0, 0, 0xFF, 0xFF]),
        ]
    )
    func silent(_ bytes: [UInt8]) {
        var transcript = started()
        _ = transcript.sent()
        guard case .failed(let error) = transcript.receives(bytes + startOk()).first else {
            Issue.record("accepted")
            return
        }
        #expect(transcript.sent() == [])
        #expect(transcript.machine.deadlineMilliseconds == transcript.now + 1_000)
        #expect(transcript.timerFires(after: 999) == .none)
        #expect(transcript.timerFires(after: 1) == .close(.closedByServer(error)))
    }

    @Test("a refused login is told to who has announced that it understands")
    func refusedLogin() {
        for isAnnounced in [true, false] {
            var transcript = started()
            _ = transcript.receives(startOk(capabilities: ["authentication_failure_close": .boolean(isAnnounced)]))
            _ = transcript.sent()
            _ = transcript.machine.refuseLogin(output: &transcript.output)
            let text =
                "0 connectionClose 403 ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
                + "For details see the broker logfile. [0,0]"
            #expect(transcript.sent() == (isAnnounced ? [text] : []))
            #expect(transcript.timerFires(after: 1_000) == .close(.loginRefused))
        }
    }

    @Test(
        "tuning outside the bounds is 530",
        arguments: [
            (tuneOk(frame: 4_095), "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)"),
            (tuneOk(frame: 131_073), "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)"),
            (tuneOk(channels: 2_048), "negotiated channel_max = 2048 is higher than the maximum allowed value (2047)"),
        ]
    )
    func tuning(_ bytes: [UInt8], _ text: String) {
        var transcript = authenticated()
        _ = transcript.receives(bytes)
        #expect(transcript.sent() == ["0 connectionClose 530 NOT_ALLOWED - \(text) [10,30]"])
    }

    @Test("zero takes the offer, and a client without heartbeats gets none")
    func zeroTuning() {
        var transcript = authenticated()
        _ = transcript.receives(tuneOk())
        #expect(
            transcript.machine.tuning
                == ConnectionTuning(channelMaximum: 2_047, frameMaximum: 131_072, heartbeatSeconds: 0)
        )
    }

    @Test("frames beyond 8,192 bytes are refused before tuning, and accepted after")
    func initialFrame() {
        var transcript = started()
        guard case .failed(let error) = transcript.receives([1, 0, 0] + integer(UInt32(8_193))).first else {
            Issue.record("accepted")
            return
        }
        #expect(error.code == .frameError)
        var open = Transcript.open()
        #expect(open.receives([1, 0, 1] + integer(UInt32(100_000))) == [])
    }

    @Test("an unknown virtual host is 530 on the connection")
    func unknownHost() {
        var transcript = authenticated()
        _ = transcript.receives(tuneOk() + openHost("x"))
        _ = transcript.machine.fail(.noVirtualHost("x"), output: &transcript.output)
        #expect(transcript.sent() == ["0 connectionClose 530 NOT_ALLOWED - vhost x not found [10,40]"])
        _ = transcript.receives(method(.connectionCloseOk, channel: 0))
        #expect(transcript.machine.hasEnded)
    }

    @Test("a handshake that takes too long ends")
    func timeout() {
        var transcript = started()
        #expect(transcript.machine.deadlineMilliseconds == 11_000)
        #expect(transcript.timerFires(after: 9_999) == .none)
        #expect(transcript.timerFires(after: 1) == .close(.handshakeTimeout))
    }
}
