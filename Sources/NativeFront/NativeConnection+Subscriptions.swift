internal import Gateway
internal import MessageModel
internal import NIOCore
internal import NativeProtocol
internal import StorageService

/// Subscriptions: their making, changing and unmaking.
extension NativeConnection {
    func subscriptionRequest(_ opcode: Opcode, _ frame: Frame) throws(SluiceError) {
        switch opcode {
        case .createSubscription: try createSubscription(frame)
        case .deleteSubscription:
            try ask(.deleteSubscription(name: try frame.decode { NameBody(&$0) }.name), frame.header)
        case .describeSubscription:
            try ask(.describeSubscription(name: try frame.decode { NameBody(&$0) }.name), frame.header)
        case .updateSubscription:
            let request = try frame.decode { UpdateSubscriptionBody(&$0) }
            try ask(.updateSubscription(name: request.name, try SubscriptionPolicy(request.policy)), frame.header)
        case .seek:
            let request = try frame.decode { SeekBody(&$0) }
            try ask(.seek(name: request.name, SeekTarget(request.target, partition: request.partition)), frame.header)
        case .pause:
            let request = try frame.decode { PauseBody(&$0) }
            try ask(.pause(name: request.name, isPaused: request.isPaused), frame.header)
        case .bind:
            let request = try frame.decode { BindBody(&$0) }
            try ask(.bind(name: request.name, try Binding(request.binding)), frame.header)
        case .unbind:
            let request = try frame.decode { BindBody(&$0) }
            try ask(.unbind(name: request.name, try Binding(request.binding)), frame.header)
        case .listBindings:
            try ask(.listBindings(name: try frame.decode { NameBody(&$0) }.name), frame.header)
        default:
            let request = try frame.decode { ListBody(&$0) }
            let after = request.after.isEmpty ? nil : request.after
            try ask(.listSubscriptions(after: after, limit: Self.listLimit(request)), frame.header)
        }
    }

    private func createSubscription(_ frame: Frame) throws(SluiceError) {
        let version = session.version(.createSubscription)
        let request = try frame.decode { CreateSubscriptionBody(&$0, version: version) }
        let source: SubscriptionSpecification.Source
        if request.isInbox {
            var bindings: [Binding] = []
            for binding in request.bindings { bindings.append(try Binding(binding)) }
            source = .inbox(bindings: bindings)
        } else {
            guard request.bindings.isEmpty else {
                throw SluiceError(.invalidArgument, "only an inbox has bindings")
            }
            source = .cursor(topic: try wholeTopic(request.address).id, start: StartPosition(request.start))
        }
        let policy = try SubscriptionPolicy(request.policy)
        try ask(
            .createSubscription(SubscriptionSpecification(name: request.name, source: source, policy: policy)),
            frame.header
        )
    }
}
