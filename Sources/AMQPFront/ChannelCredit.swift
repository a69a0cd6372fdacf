internal import AMQPModel
internal import AMQPProtocol
internal import MessageModel
internal import StorageService

/// The credit that the consumers of a channel share (basic.qos for the channel): storage counts it as the credit of a
/// group, which can only be added to.
final class ChannelCredit {
    let group: UInt32
    private var limit = 0
    /// What is not given back because the limit is lower than it was.
    private var debt = 0

    init(group: UInt32) { self.group = group }

    /// - Parameter limit: zero for none.
    /// - Returns: what is to be granted.
    func setLimit(_ newLimit: UInt16) -> Int {
        let wanted = newLimit == 0 ? Self.unbounded : Int(newLimit)
        let change = wanted - limit
        limit = wanted
        guard change > 0 else {
            debt -= change
            return 0
        }
        return pay(change)
    }

    /// Messages were settled.
    /// - Returns: what is to be granted for that.
    func returned(_ messages: Int) -> Int { pay(messages) }

    private func pay(_ messages: Int) -> Int {
        let paid = min(debt, messages)
        debt -= paid
        return messages - paid
    }

    private static let unbounded = 1 << 40
}

/// A message that was leased while its channel had as many as it takes: by consumers that were there before the channel
/// had a limit. A copy; what a consumer without a limit of its own may have of these is bounded by its credit in bytes.
struct HeldDelivery {
    var source: Source
    var token: DeliveryToken
    var isRedelivered: Bool
    var exchange: [UInt8]
    var routingKey: [UInt8]
    var properties: [UInt8]
    var body: [UInt8]
}

extension AMQPConnectionHandler {
    /// Sends what was held back, as far as the channel takes it now.
    func sendHeld(_ channel: ChannelState, _ host: VirtualHost) {
        guard !channel.held.isEmpty, channel.isOpen else { return }
        withOutput { output in
            var sent = 0
            for held in channel.held {
                guard let consumer = held.source.consumer, !held.source.isCancelled else {
                    sent += 1
                    host.giveBack(held.source, held.token)
                    continue
                }
                let admission = held.exchange.withUnsafeBytes { exchange in
                    held.routingKey.withUnsafeBytes { routingKey in
                        held.properties.withUnsafeBytes { properties in
                            held.body.withUnsafeBytes { body in
                                machine.deliver(
                                    onChannel: channel.number,
                                    to: consumer,
                                    token: held.token.rawValue,
                                    isRedelivered: held.isRedelivered,
                                    exchange: exchange,
                                    routingKey: routingKey,
                                    properties: properties,
                                    body: body,
                                    output: &output
                                )
                            }
                        }
                    }
                }
                if case .noCredit = admission { break }
                sent += 1
                if case .admitted = admission {
                    held.source.unsettled += 1
                } else {
                    host.giveBack(held.source, held.token)
                }
            }
            channel.held.removeFirst(sent)
        }
    }
}
