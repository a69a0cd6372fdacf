import NIOCore
import Testing

@testable import AMQPProtocol

@Suite("Consumers and deliveries")
struct ConsumerTests {
    @Test("nothing is delivered before consume-ok, nor after the cancellation")
    func life() throws {
        var transcript = Transcript.open()
        guard case .consume(let request) = transcript.channelAction(consume("q")) else {
            Issue.record("no consume")
            return
        }
        #expect(request.method.consumerTag.description.hasPrefix("amq.ctag-"))
        #expect(transcript.delivers(to: request.consumer) == .notConsuming)
        transcript.machine[channel: 1]?.consumed(source: 1, output: &transcript.output)
        #expect(transcript.sent() == ["1 basicConsumeOk \(request.method.consumerTag)"])
        #expect(transcript.delivers(to: request.consumer, token: 5) == .admitted(deliveryTag: 1))
        #expect(transcript.sent() == ["1 basicDeliver \(request.method.consumerTag)", "header", "body"])
        let cancel = method(.basicCancel, short(request.method.consumerTag.description) + [0])
        #expect(transcript.channelAction(cancel) == .cancel(consumer: request.consumer))
        #expect(transcript.delivers(to: request.consumer) == .notConsuming)
        #expect(transcript.sent() == [])
        transcript.completes()
        #expect(transcript.sent() == ["1 basicCancelOk \(request.method.consumerTag)"])
        // What it got can still be acknowledged.
        #expect(transcript.channelAction(ack(1)) == .settle)
        #expect(transcript.settled.map(\.token) == [5])
        #expect(transcript.receives(cancel) == [])
        #expect(transcript.sent() == ["1 basicCancelOk \(request.method.consumerTag)"])
    }

    @Test("a consumer whose queue is gone is told so if it wants to know, and acknowledges late")
    func cancelledByServer() {
        for isAnnounced in [true, false] {
            var transcript = Transcript.open(capabilities: ["consumer_cancel_notify": .boolean(isAnnounced)])
            let consumer = transcript.consumes(tag: "c")
            _ = transcript.delivers(to: consumer)
            _ = transcript.sent()
            transcript.machine.cancel(consumer: consumer, onChannel: 1, output: &transcript.output)
            #expect(transcript.sent() == (isAnnounced ? ["1 basicCancel c"] : []))
            #expect(transcript.delivers(to: consumer) == .notConsuming)
            #expect(transcript.channelAction(ack(1)) == .settle)
            // The tag can be used again.
            _ = transcript.consumes(tag: "c")
        }
    }

    @Test("a number is not used again while deliveries of its consumer wait")
    func numbers() {
        var transcript = Transcript.open()
        let first = transcript.consumes(tag: "a")
        _ = transcript.delivers(to: first)
        transcript.machine.cancel(consumer: first, onChannel: 1, output: &transcript.output)
        let second = transcript.consumes(tag: "b")
        #expect(second != first)
        _ = transcript.receives(ack(1))
        #expect(transcript.consumes(tag: "c") == first)
    }

    @Test("prefetch counts for each consumer that is created afterwards")
    func consumerPrefetch() {
        var transcript = Transcript.open()
        let unlimited = transcript.consumes(tag: "a")
        #expect(transcript.receives(qos(2)) == [.channel(1, .creditChanged)])
        let limited = transcript.consumes(tag: "b")
        #expect(transcript.machine[channel: 1]?.credit(ofConsumer: limited) == 2)
        for tag in UInt64(1)...2 { #expect(transcript.delivers(to: limited) == .admitted(deliveryTag: tag)) }
        #expect(transcript.delivers(to: limited) == .noCredit)
        for tag in UInt64(3)...9 { #expect(transcript.delivers(to: unlimited) == .admitted(deliveryTag: tag)) }
        _ = transcript.receives(ack(2))
        #expect(transcript.delivers(to: limited) == .admitted(deliveryTag: 10))
        #expect(transcript.delivers(to: limited) == .noCredit)
    }

    @Test("a global prefetch counts for the channel, at once, and ends with the next one that is not global")
    func channelPrefetch() {
        var transcript = Transcript.open()
        let consumers = [transcript.consumes(tag: "a"), transcript.consumes(tag: "b")]
        let automatic = transcript.consumes(tag: "n", noAck: true)
        _ = transcript.receives(qos(3, global: true))
        for tag in UInt64(1)...3 {
            #expect(transcript.delivers(to: consumers[Int(tag) % 2]) == .admitted(deliveryTag: tag))
        }
        #expect(transcript.delivers(to: consumers[0]) == .noCredit)
        #expect(transcript.delivers(to: automatic) == .admitted(deliveryTag: 4))
        _ = transcript.receives(qos(4, global: true))
        #expect(transcript.delivers(to: consumers[0]) == .admitted(deliveryTag: 5))
        #expect(transcript.delivers(to: consumers[0]) == .noCredit)
        _ = transcript.receives(qos(0))
        #expect(transcript.delivers(to: consumers[0]) == .admitted(deliveryTag: 6))
    }

    @Test("tags are shared by get and consume, and multiple covers what waits")
    func tags() {
        var transcript = Transcript.open()
        let consumer = transcript.consumes()
        _ = transcript.delivers(to: consumer, token: 1)
        #expect(get(&transcript, token: 2) == .admitted(deliveryTag: 2))
        #expect(get(&transcript, token: 3, noAck: true) == .admitted(deliveryTag: 3))
        _ = transcript.delivers(to: consumer, token: 4)
        #expect(transcript.channelAction(nack(2, multiple: true, requeue: false)) == .settle)
        #expect(transcript.settled.map(\.token) == [1, 2])
        #expect(transcript.settled.map(\.consumer) == [consumer, .max])
        #expect(transcript.settled.map(\.source) == [7, 9])
        #expect(transcript.settled.allSatisfy { $0.outcome == .reject })
        #expect(transcript.channelAction(ack(0, multiple: true)) == .settle)
        #expect(transcript.settled.map(\.token) == [4])
        // Nothing waits: all of nothing is no mistake.
        #expect(transcript.receives(ack(0, multiple: true)) == [])
        #expect(transcript.receives(ack(3)).count == 1)
        _ = transcript.sentFrames()
        #expect(transcript.machine[channel: 1]?.isOpen == false)
    }

    private func get(_ transcript: inout Transcript, token: UInt64, noAck: Bool = false) -> DeliveryAdmission? {
        guard case .get = transcript.channelAction(method(.basicGet, [0, 0] + short("q") + [noAck ? 1 : 0])) else {
            Issue.record("no get")
            return nil
        }
        var admission: DeliveryAdmission?
        [UInt8](repeating: 0, count: 2).withUnsafeBytes { bytes in
            admission = transcript.machine[channel: 1]?
                .got(
                    source: 9,
                    token: token,
                    isRedelivered: false,
                    messageCount: 3,
                    exchange: bytes,
                    routingKey: bytes,
                    properties: bytes,
                    body: bytes,
                    output: &transcript.output
                )
        }
        return admission
    }

    @Test("an empty queue answers get with get-empty")
    func getEmpty() {
        var transcript = Transcript.open()
        _ = transcript.receives(method(.basicGet, [0, 0] + short("q") + [0]))
        transcript.machine[channel: 1]?.gotNothing(output: &transcript.output)
        #expect(transcript.sent() == ["1 basicGetEmpty"])
        #expect(transcript.machine[channel: 1]?.isBusy == false)
    }

    @Test("recover gives back all in their order, and answers where it is synchronous")
    func recover() {
        var transcript = Transcript.open()
        let consumer = transcript.consumes()
        for token in UInt64(1)...3 { _ = transcript.delivers(to: consumer, token: token) }
        _ = transcript.sent()
        #expect(transcript.channelAction(method(.basicRecover, [1])) == .recover)
        #expect(transcript.settled.map(\.token) == [1, 2, 3])
        #expect(transcript.settled.allSatisfy { $0.outcome == .requeue })
        #expect(transcript.sent() == [])
        transcript.completes()
        #expect(transcript.sent() == ["1 basicRecoverOk"])
        _ = transcript.delivers(to: consumer, token: 4)
        #expect(transcript.channelAction(method(.basicRecoverAsync, [1])) == .settle)
    }

    @Test("a channel that ends gives back all in their order, whoever ends it")
    func end() {
        for isClient in [true, false] {
            var transcript = Transcript.open()
            let consumer = transcript.consumes()
            for token in UInt64(1)...3 { _ = transcript.delivers(to: consumer, token: token) }
            _ = transcript.receives(method(.txSelect) + ack(2))
            _ = transcript.sent()
            if isClient {
                let actions = transcript.receives(close(.channelClose, channel: 1) + publish())
                #expect(actions.count == 2 && actions.last == .paused)
                #expect(transcript.settled.map(\.token) == [1, 2, 3])
                transcript.machine.completeClose(channel: 1, output: &transcript.output)
                #expect(transcript.sent() == ["1 channelCloseOk"])
                #expect(transcript.machine.channelCount == 0)
            } else {
                _ = transcript.fails(.noQueue("q", virtualHost: "/"))
                #expect(transcript.machine.settled.map(\.token) == [1, 2, 3])
            }
        }
    }

    @Test("an error that comes late for a channel that is gone harms nobody")
    func lateError() {
        var transcript = Transcript.open()
        _ = transcript.receives(method(.channelOpen, channel: 2, short("")))
        _ = transcript.receives(close(.channelClose, channel: 1))
        transcript.machine.completeClose(channel: 1, output: &transcript.output)
        _ = transcript.sent()
        #expect(transcript.fails(.noExchange("x", virtualHost: "/")) == .none)
        #expect(transcript.delivers(to: 0) == nil)
        transcript.finishes([1])
        #expect(transcript.sent() == [])
        #expect(transcript.machine.isRunning && transcript.machine.channelNumbers == [2])
    }

    @Test("both sides close a channel at once")
    func crossing() {
        var transcript = Transcript.open()
        _ = transcript.fails(.noQueue("q", virtualHost: "/"))
        _ = transcript.sent()
        #expect(transcript.receives(close(.channelClose, channel: 1)) == [])
        #expect(transcript.sent() == ["1 channelCloseOk"])
        #expect(transcript.receives(method(.channelCloseOk) + method(.channelOpen, short(""))) == [.channelOpened(1)])
    }

    @Test("a queue without a name is the one declared last, and so is an empty key with it")
    func shortcuts() {
        var transcript = Transcript.open()
        guard case .declareQueue(let declare) = transcript.channelAction(declareQueue("")) else {
            Issue.record("no declare")
            return
        }
        #expect(declare.queue.description.hasPrefix("amq.gen-"))
        #expect(declare.queue.bytes.count == 30)
        transcript.machine[channel: 1]?
            .declaredQueue(declare.queue, messageCount: 0, consumerCount: 0, output: &transcript.output)
        #expect(transcript.sent() == ["1 queueDeclareOk \(declare.queue)"])
        let bind = method(.queueBind, [0, 0] + short("") + short("x") + short("") + [0] + table([:]))
        guard case .bindQueue(let bound) = transcript.channelAction(bind) else {
            Issue.record("no bind")
            return
        }
        #expect(bound.queue == declare.queue && bound.routingKey == declare.queue)
        transcript.completes()
        #expect(transcript.sent() == ["1 queueBindOk"])
    }

    @Test("a channel that waits for its owner holds back its own frames and no others")
    func busy() {
        var transcript = Transcript.open()
        _ = transcript.receives(method(.channelOpen, channel: 2, short("")))
        _ = transcript.sent()
        #expect(transcript.receives(declareQueue("q", noWait: true) + publish(channel: 2)).count == 2)
        #expect(transcript.published.count == 1)
        #expect(transcript.receives(publish() + publish(channel: 2)) == [.paused])
        transcript.machine[channel: 1]?
            .declaredQueue("q", messageCount: 0, consumerCount: 0, output: &transcript.output)
        #expect(transcript.goesOn().count == 2)
        #expect(transcript.sent() == [])
    }

    @Test("direct replies: one consumer, without acknowledgement, and publishers may refer to it")
    func directReply() {
        var transcript = Transcript.open()
        guard case .consume(let request) = transcript.channelAction(consume("amq.rabbitmq.reply-to", noAck: true))
        else {
            Issue.record("no consume")
            return
        }
        #expect(request.receivesReplies)
        transcript.machine[channel: 1]?.consumed(source: 0, output: &transcript.output)
        var properties = BasicProperties()
        properties.replyTo = "amq.rabbitmq.reply-to"
        guard case .publish(let inbound) = transcript.channelAction(publish("", "rpc", properties: properties)) else {
            Issue.record("no publish")
            return
        }
        #expect(inbound.wantsDirectReply)
        _ = transcript.sent()
        _ = transcript.receives(consume("amq.rabbitmq.reply-to", tag: "2", noAck: true))
        #expect(
            transcript.sent() == [
                "1 channelClose 406 PRECONDITION_FAILED - reply consumer already set [60,20]"
            ]
        )
    }
}
