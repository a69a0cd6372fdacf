internal import MessageModel
internal import NIOCore
internal import NativeProtocol

/// Subscriptions: their making, changing and unmaking.
extension SluiceClient {
    /// Makes a subscription. One that is there just like this is left as it is; bindings that it lacks are added.
    ///
    /// ```swift
    /// try await client.createSubscription("alarms", from: .inbox([.filter("factory/+/alarm")]))
    /// ```
    /// - Returns: the subscription, and whether it is new.
    /// - Throws: `alreadyExists` where it is there with another policy or reads something else.
    @discardableResult
    public func createSubscription(
        _ name: String,
        from source: SubscriptionSource,
        policy: SubscriptionPolicy = SubscriptionPolicy()
    ) async throws(SluiceClientError) -> (subscription: SubscriptionDescription, isNew: Bool) {
        let core = core
        let body = CreateSubscriptionBody(name, source, policy)
        let answer = try await core.call(.createSubscription) { buffer in
            body.write(to: &buffer, version: core.version(.createSubscription))
        } decode: { reader -> Created<SubscriptionDescription>? in
            guard let isNew = reader.u8(),
                let description = WireSubscriptionDescription(&reader, version: core.version(.createSubscription))
            else { return nil }
            return Created(value: SubscriptionDescription(description), isNew: isNew != 0)
        }
        return (answer.value, answer.isNew)
    }

    /// Makes a subscription to a topic.
    @discardableResult
    public func createSubscription(
        _ name: String,
        topic: String,
        start: StartingPoint = .next,
        policy: SubscriptionPolicy = SubscriptionPolicy()
    ) async throws(SluiceClientError) -> (subscription: SubscriptionDescription, isNew: Bool) {
        try await createSubscription(name, from: .topic(topic, from: start), policy: policy)
    }

    /// Gives a subscription another policy. Its durability and its priorities cannot change.
    @discardableResult
    public func updateSubscription(
        _ name: String,
        policy: SubscriptionPolicy
    ) async throws(SluiceClientError) -> SubscriptionDescription {
        let body = UpdateSubscriptionBody(name: name, policy: policy.wire)
        return try await changed(.updateSubscription) { body.write(to: &$0) }
    }

    public func deleteSubscription(_ name: String) async throws(SluiceClientError) {
        try await core.call(.deleteSubscription, isRepeatable: false) { buffer in
            NameBody(name: name).write(to: &buffer)
        } decode: { _ in
            ()
        }
    }

    public func describeSubscription(_ name: String) async throws(SluiceClientError) -> SubscriptionDescription {
        let core = core
        return try await core.call(.describeSubscription) { buffer in
            NameBody(name: name).write(to: &buffer)
        } decode: {
            WireSubscriptionDescription(&$0, version: core.version(.describeSubscription))
                .map(SubscriptionDescription.init)
        }
    }

    /// All subscriptions, in the order of their names.
    public func listSubscriptions() async throws(SluiceClientError) -> [SubscriptionDescription] {
        let core = core
        return try await list(.listSubscriptions) {
            WireSubscriptionDescription(&$0, version: core.version(.listSubscriptions))
                .map(SubscriptionDescription.init)
        }
    }

    /// Lets a subscription go on at another place. Leases end, attempts are forgotten.
    ///
    /// ```swift
    /// try await client.seek("billing", to: .time(anHourAgo))
    /// ```
    /// - Parameters:
    ///   - place: `.next` empties an inbox.
    ///   - partition: of an offset, which moves this partition only.
    @discardableResult
    public func seek(
        _ name: String,
        to place: StartingPoint,
        partition: Int = 0
    ) async throws(SluiceClientError) -> SubscriptionDescription {
        guard let index = UInt16(exactly: partition) else {
            throw SluiceClientError(.invalidArgument, "there is no partition \(partition)")
        }
        let body = SeekBody(name: name, target: place.wire, partition: index)
        return try await changed(.seek) { body.write(to: &$0) }
    }

    /// Nothing is delivered until `resume`; what is published waits.
    @discardableResult
    public func pause(_ name: String) async throws(SluiceClientError) -> SubscriptionDescription {
        try await changed(.pause) { PauseBody(name: name, isPaused: true).write(to: &$0) }
    }

    @discardableResult
    public func resume(_ name: String) async throws(SluiceClientError) -> SubscriptionDescription {
        try await changed(.pause) { PauseBody(name: name, isPaused: false).write(to: &$0) }
    }

    private func changed(
        _ opcode: Opcode,
        _ body: @escaping @Sendable (inout ByteBuffer) -> Void
    ) async throws(SluiceClientError) -> SubscriptionDescription {
        try await core.call(opcode, body) {
            WireSubscriptionDescription(&$0, version: 2).map(SubscriptionDescription.init)
        }
    }

    /// Routes messages into an inbox from now on. A binding that is there is left as it is.
    public func bind(_ name: String, _ binding: Binding) async throws(SluiceClientError) {
        try await core.call(.bind) {
            BindBody(name: name, binding: binding.wire).write(to: &$0)
        } decode: { _ in
            ()
        }
    }

    public func unbind(_ name: String, _ binding: Binding) async throws(SluiceClientError) {
        try await core.call(.unbind, isRepeatable: false) {
            BindBody(name: name, binding: binding.wire).write(to: &$0)
        } decode: { _ in
            ()
        }
    }

    public func bindings(of name: String) async throws(SluiceClientError) -> [Binding] {
        try await core.call(.listBindings) {
            NameBody(name: name).write(to: &$0)
        } decode: {
            WireBinding.readList(&$0)?.compactMap(Binding.init)
        }
    }
}
