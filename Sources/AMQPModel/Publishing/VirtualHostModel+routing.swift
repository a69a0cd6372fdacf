internal import AMQPProtocol

// Which exchanges storage can route alone.
extension VirtualHostModel {
    func routing(of exchange: Exchange) -> PublishTarget.Routing {
        if exchange.name.isEmpty { return streams > 0 ? .model : .storage }
        var seen: Set<ShortString> = [exchange.name]
        var work = [exchange]
        while let next = work.popLast() {
            guard next.kind.storageKind != nil, next.alternate == nil, next.bindingsToStreams == 0 else {
                return .model
            }
            for name in next.exchangesBehind.keys {
                if seen.insert(name).inserted, let further = exchanges[name] { work.append(further) }
            }
        }
        return .storage
    }
}
