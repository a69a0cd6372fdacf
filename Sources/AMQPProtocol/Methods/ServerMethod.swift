package import NIOCore

/// A method that the server sends and that carries no content. Those of the hot path, basic.ack and basic.nack, and
/// those with content (`OutboundContent`) have encoders of their own.
package enum ServerMethod: Sendable, Hashable {
    case connectionStart(serverProperties: FieldTable, mechanisms: [UInt8], locales: [UInt8])
    case connectionSecure(challenge: [UInt8])
    case connectionTune(ConnectionTuning)
    case connectionOpenOk
    case connectionClose(CloseMethod)
    case connectionCloseOk
    case connectionBlocked(reason: ShortString)
    case connectionUnblocked
    case connectionUpdateSecretOk
    case channelOpenOk
    case channelFlowOk(isActive: Bool)
    case channelClose(CloseMethod)
    case channelCloseOk
    case accessRequestOk
    case exchangeDeclareOk
    case exchangeDeleteOk
    case exchangeBindOk
    case exchangeUnbindOk
    case queueDeclareOk(queue: ShortString, messageCount: UInt32, consumerCount: UInt32)
    case queueBindOk
    case queueUnbindOk
    case queuePurgeOk(messageCount: UInt32)
    case queueDeleteOk(messageCount: UInt32)
    case basicQosOk
    case basicConsumeOk(consumerTag: ShortString)
    /// The server ends a consumer: its queue is gone.
    case basicCancel(consumerTag: ShortString)
    case basicCancelOk(consumerTag: ShortString)
    case basicGetEmpty
    case basicRecoverOk
    case confirmSelectOk
    case txSelectOk
    case txCommitOk
    case txRollbackOk

    package var id: MethodID {
        switch self {
        case .connectionStart: .connectionStart
        case .connectionSecure: .connectionSecure
        case .connectionTune: .connectionTune
        case .connectionOpenOk: .connectionOpenOk
        case .connectionClose: .connectionClose
        case .connectionCloseOk: .connectionCloseOk
        case .connectionBlocked: .connectionBlocked
        case .connectionUnblocked: .connectionUnblocked
        case .connectionUpdateSecretOk: .connectionUpdateSecretOk
        case .channelOpenOk: .channelOpenOk
        case .channelFlowOk: .channelFlowOk
        case .channelClose: .channelClose
        case .channelCloseOk: .channelCloseOk
        case .accessRequestOk: .accessRequestOk
        case .exchangeDeclareOk: .exchangeDeclareOk
        case .exchangeDeleteOk: .exchangeDeleteOk
        case .exchangeBindOk: .exchangeBindOk
        case .exchangeUnbindOk: .exchangeUnbindOk
        case .queueDeclareOk: .queueDeclareOk
        case .queueBindOk: .queueBindOk
        case .queueUnbindOk: .queueUnbindOk
        case .queuePurgeOk: .queuePurgeOk
        case .queueDeleteOk: .queueDeleteOk
        case .basicQosOk: .basicQosOk
        case .basicConsumeOk: .basicConsumeOk
        case .basicCancel: .basicCancel
        case .basicCancelOk: .basicCancelOk
        case .basicGetEmpty: .basicGetEmpty
        case .basicRecoverOk: .basicRecoverOk
        case .confirmSelectOk: .confirmSelectOk
        case .txSelectOk: .txSelectOk
        case .txCommitOk: .txCommitOk
        case .txRollbackOk: .txRollbackOk
        }
    }

    /// Appends the method as one frame.
    package func encode(channel: UInt16, into output: inout ByteBuffer) {
        FrameWriter.write(.method, channel: channel, into: &output) { output in
            output.writeInteger(id.rawValue)
            writeArguments(into: &output)
        }
    }

    private func writeArguments(into output: inout ByteBuffer) {
        switch self {
        case .connectionStart(let serverProperties, let mechanisms, let locales):
            output.writeInteger(UInt8(0))
            output.writeInteger(UInt8(9))
            output.write(serverProperties)
            output.writeLong(mechanisms)
            output.writeLong(locales)
        case .connectionSecure(let challenge): output.writeLong(challenge)
        case .connectionTune(let tuning): tuning.write(into: &output)
        case .connectionClose(let close), .channelClose(let close): close.write(into: &output)
        case .connectionBlocked(let reason): output.write(reason)
        case .connectionOpenOk, .basicGetEmpty: output.write(.empty)
        case .channelOpenOk: output.writeInteger(UInt32(0))
        case .channelFlowOk(let isActive): output.writeBits(isActive)
        case .accessRequestOk: output.writeInteger(UInt16(1))
        case .queueDeclareOk(let queue, let messageCount, let consumerCount):
            output.write(queue)
            output.writeInteger(messageCount)
            output.writeInteger(consumerCount)
        case .queuePurgeOk(let messageCount), .queueDeleteOk(let messageCount): output.writeInteger(messageCount)
        case .basicConsumeOk(let consumerTag), .basicCancelOk(let consumerTag): output.write(consumerTag)
        case .basicCancel(let consumerTag):
            output.write(consumerTag)
            output.writeBits(true)
        case .connectionCloseOk, .connectionUnblocked, .connectionUpdateSecretOk, .channelCloseOk,
            .exchangeDeclareOk, .exchangeDeleteOk, .exchangeBindOk, .exchangeUnbindOk, .queueBindOk, .queueUnbindOk,
            .basicQosOk, .basicRecoverOk, .confirmSelectOk, .txSelectOk, .txCommitOk, .txRollbackOk:
            break
        }
    }
}

/// basic.ack and basic.nack from the server: confirms of published messages.
enum ConfirmFrame {
    /// Bytes of one frame.
    static let size = Frame.overhead + 4 + 9

    /// Appends one without allocating.
    static func encode(
        channel: UInt16,
        tag: UInt64,
        isMultiple: Bool,
        isNegative: Bool,
        into output: inout ByteBuffer
    ) {
        output.writeWithUnsafeMutableBytes(minimumWritableBytes: size) { memory in
            var cursor = OutputCursor(memory)
            cursor.beginFrame(.method, channel: channel, payloadLength: size - Frame.overhead)
            cursor.write((isNegative ? MethodID.basicNack : .basicAck).rawValue)
            cursor.write(tag)
            // Bit 1 of basic.nack says requeue, which means nothing to a publisher.
            cursor.write(isMultiple ? 1 : 0 as UInt8)
            cursor.endFrame()
            return cursor.position
        }
    }
}
