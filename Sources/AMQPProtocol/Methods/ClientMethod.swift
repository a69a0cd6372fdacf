/// A method that a client sends, decoded.
package enum ClientMethod: Sendable, Hashable {
    case connectionStartOk(ConnectionStartOk)
    case connectionSecureOk(response: [UInt8])
    case connectionTuneOk(ConnectionTuning)
    case connectionOpen(virtualHost: ShortString)
    case connectionClose(CloseMethod)
    case connectionCloseOk
    case connectionUpdateSecret(ConnectionUpdateSecret)
    case channelOpen
    case channelFlow(isActive: Bool)
    case channelFlowOk(isActive: Bool)
    case channelClose(CloseMethod)
    case channelCloseOk
    case accessRequest
    case exchangeDeclare(ExchangeDeclare)
    case exchangeDelete(ExchangeDelete)
    case exchangeBind(ExchangeBind)
    case exchangeUnbind(ExchangeBind)
    case queueDeclare(QueueDeclare)
    case queueBind(QueueBind)
    case queueUnbind(QueueBind)
    case queuePurge(QueuePurge)
    case queueDelete(QueueDelete)
    case basicQos(BasicQos)
    case basicConsume(BasicConsume)
    case basicCancel(BasicCancel)
    case basicCancelOk(consumerTag: ShortString)
    /// Ranges count from the beginning of the arguments.
    case basicPublish(BasicPublish)
    case basicGet(BasicGet)
    case basicSettle(BasicSettle)
    case basicRecover(requeue: Bool)
    case basicRecoverAsync(requeue: Bool)
    case confirmSelect(noWait: Bool)
    case txSelect
    case txCommit
    case txRollback

    /// Decodes the arguments of `method`. Bytes behind the last argument are ignored, as RabbitMQ does.
    ///
    /// - Parameters:
    ///   - arguments: what follows class and method in the payload of the frame.
    ///   - depth: tables inside each other that are accepted.
    /// - Throws: 501 and 502 for malformed arguments, 503 for a method that only a server sends.
    package static func decode(
        _ method: MethodID,
        _ arguments: UnsafeRawBufferPointer,
        depth: Int
    ) throws(AMQPError) -> ClientMethod {
        var reader = ByteReader(arguments)
        do throws(WireError) {
            if let decoded = try read(method, &reader, depth: depth) { return decoded }
        } catch {
            throw AMQPError(error, arguments: arguments, of: method)
        }
        throw AMQPError(.commandInvalid, "unimplemented method", method: method)
    }

    private static func read(
        _ method: MethodID,
        _ reader: inout ByteReader,
        depth: Int
    ) throws(WireError) -> ClientMethod? {
        switch method.classID {
        case 10: try readConnection(method, &reader, depth: depth)
        case 40: try readExchange(method, &reader, depth: depth)
        case 50: try readQueue(method, &reader, depth: depth)
        case 60: try readBasic(method, &reader, depth: depth)
        default: try readOther(method, &reader)
        }
    }

    private static func readConnection(
        _ method: MethodID,
        _ reader: inout ByteReader,
        depth: Int
    ) throws(WireError) -> ClientMethod? {
        switch method {
        case .connectionStartOk: return .connectionStartOk(try ConnectionStartOk(&reader, depth: depth))
        case .connectionSecureOk: return .connectionSecureOk(response: try reader.readLongString())
        case .connectionTuneOk: return .connectionTuneOk(try ConnectionTuning(&reader))
        case .connectionOpen:
            // What follows, capabilities and insist, is reserved.
            return .connectionOpen(virtualHost: try reader.readShortString())
        case .connectionClose: return .connectionClose(try CloseMethod(&reader))
        case .connectionCloseOk: return .connectionCloseOk
        case .connectionUpdateSecret: return .connectionUpdateSecret(try ConnectionUpdateSecret(&reader))
        default: return nil
        }
    }

    private static func readExchange(
        _ method: MethodID,
        _ reader: inout ByteReader,
        depth: Int
    ) throws(WireError) -> ClientMethod? {
        switch method {
        case .exchangeDeclare: return .exchangeDeclare(try ExchangeDeclare(&reader, depth: depth))
        case .exchangeDelete: return .exchangeDelete(try ExchangeDelete(&reader))
        case .exchangeBind: return .exchangeBind(try ExchangeBind(&reader, depth: depth))
        case .exchangeUnbind: return .exchangeUnbind(try ExchangeBind(&reader, depth: depth))
        default: return nil
        }
    }

    private static func readQueue(
        _ method: MethodID,
        _ reader: inout ByteReader,
        depth: Int
    ) throws(WireError) -> ClientMethod? {
        switch method {
        case .queueDeclare: return .queueDeclare(try QueueDeclare(&reader, depth: depth))
        case .queueBind: return .queueBind(try QueueBind(bind: &reader, depth: depth))
        case .queueUnbind: return .queueUnbind(try QueueBind(unbind: &reader, depth: depth))
        case .queuePurge: return .queuePurge(try QueuePurge(&reader))
        case .queueDelete: return .queueDelete(try QueueDelete(&reader))
        default: return nil
        }
    }

    private static func readBasic(
        _ method: MethodID,
        _ reader: inout ByteReader,
        depth: Int
    ) throws(WireError) -> ClientMethod? {
        switch method {
        case .basicQos: return .basicQos(try BasicQos(&reader))
        case .basicConsume: return .basicConsume(try BasicConsume(&reader, depth: depth))
        case .basicCancel: return .basicCancel(try BasicCancel(&reader))
        case .basicCancelOk: return .basicCancelOk(consumerTag: try reader.readShortString())
        case .basicPublish: return .basicPublish(try BasicPublish(&reader))
        case .basicGet: return .basicGet(try BasicGet(&reader))
        case .basicAck, .basicNack, .basicReject: return .basicSettle(try BasicSettle(method, &reader))
        case .basicRecover: return .basicRecover(requeue: try reader.readBits()[0])
        case .basicRecoverAsync: return .basicRecoverAsync(requeue: try reader.readBits()[0])
        default: return nil
        }
    }

    private static func readOther(_ method: MethodID, _ reader: inout ByteReader) throws(WireError) -> ClientMethod? {
        switch method {
        case .channelOpen: return .channelOpen
        case .channelFlow: return .channelFlow(isActive: try reader.readBits()[0])
        case .channelFlowOk: return .channelFlowOk(isActive: try reader.readBits()[0])
        case .channelClose: return .channelClose(try CloseMethod(&reader))
        case .channelCloseOk: return .channelCloseOk
        case .accessRequest: return .accessRequest
        case .confirmSelect: return .confirmSelect(noWait: try reader.readBits()[0])
        case .txSelect: return .txSelect
        case .txCommit: return .txCommit
        case .txRollback: return .txRollback
        default: return nil
        }
    }
}
