package import AMQPProtocol

/// An exchange as it was declared.
package struct Exchange: Sendable {
    package let name: ShortString
    /// As it was declared, for whoever asks.
    package let type: ShortString
    package let kind: ExchangeKind
    package let isDurable: Bool
    package let isAutoDelete: Bool
    /// Clients may not publish to it.
    package let isInternal: Bool
    /// Messages with the header `x-delay` are routed when their time has come.
    package let isDelayed: Bool
    package let arguments: FieldTable
    /// Where messages go that it routes nowhere, from its argument or its policy.
    package internal(set) var alternate: ShortString?
    /// What is published to it is stored in this topic; nil for `amq.topic`, whose names are in whichever topic captures
    /// them.
    package let topic: String?
    /// Under which its definition is stored; zero where it is not.
    let storedNumber: UInt64

    /// What is bound to it, with the number under which the binding is stored, or zero.
    var outgoing: [OutgoingBinding: UInt64] = [:]
    /// What it is bound to itself.
    var incoming: Set<IncomingBinding> = []
    /// The exchanges that are bound to it, with the number of such bindings, and how many lead to streams: what decides
    /// who routes, at hand without a walk over all bindings.
    var exchangesBehind: [ShortString: Int] = [:]
    var bindingsToStreams = 0

    package var isPredeclared: Bool { name.isEmpty || name.hasPrefix("amq.") }
    /// Bindings from it.
    package var bindingCount: Int { outgoing.count }
}

/// Where a binding leads.
package enum BindingDestination: Sendable, Hashable {
    case queue(ShortString)
    case exchange(ShortString)
}

/// A binding as its source has it.
struct OutgoingBinding: Sendable, Hashable {
    var destination: BindingDestination
    var routingKey: ShortString
    var arguments: FieldTable
}

/// A binding as its destination has it.
struct IncomingBinding: Sendable, Hashable {
    var source: ShortString
    var routingKey: ShortString
    var arguments: FieldTable
}
