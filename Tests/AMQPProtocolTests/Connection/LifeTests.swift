import NIOCore
import Testing

@testable import AMQPProtocol

@Suite("The life of a connection")
struct LifeTests {
    @Test("a heartbeat goes out after half the interval without a write")
    func sending() {
        var transcript = Transcript.open(heartbeat: 10)
        #expect(transcript.machine.deadlineMilliseconds == 6_000)
        #expect(transcript.timerFires(after: 4_999) == .none)
        #expect(transcript.sent() == [])
        #expect(transcript.timerFires(after: 1) == .none)
        #expect(transcript.sent() == ["heartbeat"])
        transcript.now += 3_000
        transcript.machine.noteWrite(nowMilliseconds: transcript.now)
        #expect(transcript.timerFires(after: 4_000) == .none)
        #expect(transcript.sent() == [])
    }

    @Test("two missed heartbeats end the connection, any byte counts as life, half a frame too")
    func receiving() {
        var transcript = Transcript.open(heartbeat: 10)
        _ = transcript.timerFires(after: 19_999)
        _ = transcript.receives([8])
        #expect(transcript.timerFires(after: 19_999) == .none)
        #expect(transcript.timerFires(after: 1) == .close(.heartbeatTimeout))
    }

    @Test("while the server does not read, silence says nothing")
    func paused() {
        var transcript = Transcript.open(heartbeat: 1)
        transcript.machine.setReadingPaused(true, nowMilliseconds: transcript.now)
        #expect(transcript.timerFires(after: 60_000) == .none)
        transcript.machine.setReadingPaused(false, nowMilliseconds: transcript.now)
        #expect(transcript.timerFires(after: 1_999) == .none)
        #expect(transcript.timerFires(after: 1) == .close(.heartbeatTimeout))
    }

    @Test("no heartbeats, no deadline")
    func none() {
        let transcript = Transcript.open(heartbeat: 0)
        #expect(transcript.machine.deadlineMilliseconds == nil)
    }

    @Test("a client's close is answered when the owner has let go")
    func closedByClient() {
        var transcript = Transcript.open()
        let actions = transcript.receives(close(.connectionClose, channel: 0, code: 320) + publish())
        #expect(actions == [.closeRequested(CloseMethod(code: 320, text: "bye")), .paused])
        #expect(transcript.sent() == [])
        let action = transcript.machine.completeClose(output: &transcript.output)
        #expect(action == .close(.closedByClient(CloseMethod(code: 320, text: "bye"))))
        #expect(transcript.sent() == ["0 connectionCloseOk"])
        #expect(transcript.machine.hasEnded)
    }

    @Test("after the server's close everything but close and close-ok is thrown away")
    func closedByServer() {
        var transcript = Transcript.open()
        let error = AMQPError.forced("shutdown")
        #expect(transcript.machine.fail(error, output: &transcript.output) == .failed(error))
        #expect(transcript.sent() == ["0 connectionClose 320 CONNECTION_FORCED - shutdown [0,0]"])
        #expect(transcript.receives(publish() + ack(9) + frame(9, []) + frame(8, [1])) == [])
        #expect(transcript.receives(close(.connectionClose, channel: 0)) == [])
        #expect(transcript.sent() == ["0 connectionCloseOk"])
        #expect(transcript.receives(method(.connectionCloseOk, channel: 0)) == [.close(.closedByServer(error))])
    }

    @Test("a client that does not answer the close is hung up on")
    func closeTimeout() {
        var transcript = Transcript.open()
        let error = AMQPError.forced("shutdown")
        _ = transcript.machine.fail(error, output: &transcript.output)
        #expect(transcript.machine.deadlineMilliseconds == 31_000)
        #expect(transcript.timerFires(after: 30_000) == .close(.closedByServer(error)))
    }

    @Test("blocked is told to who wants to know, once")
    func blocked() {
        for isAnnounced in [true, false] {
            var transcript = Transcript.open(capabilities: ["connection.blocked": .boolean(isAnnounced)])
            transcript.machine.block(reason: "low on disk", output: &transcript.output)
            transcript.machine.block(reason: "low on disk", output: &transcript.output)
            transcript.machine.unblock(output: &transcript.output)
            transcript.machine.unblock(output: &transcript.output)
            let expected = ["0 connectionBlocked low on disk", "0 connectionUnblocked"]
            #expect(transcript.sent() == (isAnnounced ? expected : []))
        }
    }

    @Test("a new secret is accepted or ends the connection")
    func updateSecret() {
        let update = method(.connectionUpdateSecret, channel: 0, long("s2".utf8) + short("expired"))
        for isAccepted in [true, false] {
            var transcript = Transcript.open()
            let actions = transcript.receives(update + publish())
            guard case .updateSecret(let secret) = actions.first else {
                Issue.record("no action")
                return
            }
            #expect(actions.count == 2 && actions[1] == .paused)
            #expect(secret.newSecret == Array("s2".utf8))
            if isAccepted {
                transcript.machine.updatedSecret(output: &transcript.output)
                #expect(transcript.sent() == ["0 connectionUpdateSecretOk"])
                #expect(transcript.goesOn().count == 1)
            } else {
                _ = transcript.machine.fail(.secretRefused(), output: &transcript.output)
                let text = "NOT_ALLOWED - New secret was refused by one of the backends"
                #expect(transcript.sent() == ["0 connectionClose 530 \(text) [10,70]"])
            }
        }
    }
}
