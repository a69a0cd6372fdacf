internal import MessageModel
package import NIOCore

/// What routes messages into an inbox: u8 kind, text exchange, bytes16 pattern, arguments.
package struct WireBinding: Equatable, Sendable {
    package struct Argument: Equatable, Sendable {
        package var name: [UInt8]
        /// Nil asks for presence only.
        package var value: [UInt8]?
        package init(name: [UInt8], value: [UInt8]?) {
            self.name = name
            self.value = value
        }
    }

    /// 0 filter, 1 direct, 2 topic, 3 fanout, 4 headers.
    package var kind: UInt8
    package var topic: String
    package var pattern: [UInt8]
    package var arguments: [Argument]

    package init(kind: UInt8, topic: String = "", pattern: [UInt8], arguments: [Argument] = []) {
        self.kind = kind
        self.topic = topic
        self.pattern = pattern
        self.arguments = arguments
    }

    package init?(_ reader: inout WireReader) {
        guard let kind = reader.u8(), let topic = reader.text(), let pattern = reader.bytes16(),
            let count = reader.count16(each: 5)
        else { return nil }
        self.init(kind: kind, topic: topic, pattern: Array(pattern))
        for _ in 0..<count {
            guard let name = reader.bytes16(), let hasValue = reader.u8(), let value = reader.bytes16() else {
                return nil
            }
            arguments.append(Argument(name: Array(name), value: hasValue != 0 ? Array(value) : nil))
        }
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeU8(kind)
        buffer.writeText(topic)
        buffer.writeBytes16(pattern)
        buffer.writeU16(UInt16(truncatingIfNeeded: arguments.count))
        for argument in arguments {
            buffer.writeBytes16(argument.name)
            buffer.writeU8(argument.value == nil ? 0 : 1)
            buffer.writeBytes16(argument.value ?? [])
        }
    }

    package static func readList(_ reader: inout WireReader) -> [WireBinding]? {
        guard let count = reader.count16(each: 7) else { return nil }
        var result: [WireBinding] = []
        for _ in 0..<count {
            guard let binding = WireBinding(&reader) else { return nil }
            result.append(binding)
        }
        return result
    }

    package static func writeList(_ bindings: [WireBinding], to buffer: inout ByteBuffer) {
        buffer.writeU16(UInt16(truncatingIfNeeded: bindings.count))
        for binding in bindings { binding.write(to: &buffer) }
    }
}

/// CREATE_SUBSCRIPTION: a subscription is to be there and be like this. Version 1 ends with the address.
package struct CreateSubscriptionBody: Equatable, Sendable {
    package var start: WireStart
    package var name: String
    /// The topic of a cursor subscription; not looked at for an inbox.
    package var address: String
    package var isInbox: Bool
    package var bindings: [WireBinding]
    package var policy: WireSubscriptionPolicy

    package init(
        start: WireStart,
        name: String,
        address: String,
        isInbox: Bool = false,
        bindings: [WireBinding] = [],
        policy: WireSubscriptionPolicy = WireSubscriptionPolicy()
    ) {
        self.start = start
        self.name = name
        self.address = address
        self.isInbox = isInbox
        self.bindings = bindings
        self.policy = policy
    }

    package init?(_ reader: inout WireReader, version: UInt16) {
        guard let start = WireStart(&reader), let name = reader.text(), let address = reader.text() else { return nil }
        self.init(start: start, name: name, address: address)
        guard version > 1 else { return }
        guard let source = reader.u8(), source <= 1, let bindings = WireBinding.readList(&reader),
            let policy = WireSubscriptionPolicy(&reader)
        else { return nil }
        isInbox = source == 1
        self.bindings = bindings
        self.policy = policy
    }

    package func write(to buffer: inout ByteBuffer, version: UInt16) {
        start.write(to: &buffer)
        buffer.writeText(name)
        buffer.writeText(address)
        guard version > 1 else { return }
        buffer.writeU8(isInbox ? 1 : 0)
        WireBinding.writeList(bindings, to: &buffer)
        policy.write(to: &buffer)
    }
}

/// UPDATE_SUBSCRIPTION: text name, policy. What the policy leaves out gets its default.
package struct UpdateSubscriptionBody: Equatable, Sendable {
    package var name: String
    package var policy: WireSubscriptionPolicy

    package init(name: String, policy: WireSubscriptionPolicy) {
        self.name = name
        self.policy = policy
    }

    package init?(_ reader: inout WireReader) {
        guard let name = reader.text(), let policy = WireSubscriptionPolicy(&reader) else { return nil }
        self.init(name: name, policy: policy)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeText(name)
        policy.write(to: &buffer)
    }
}

/// SEEK: text name, u8 and u64 as a start, u16 partition, which counts for an offset only.
package struct SeekBody: Equatable, Sendable {
    package var name: String
    package var target: WireStart
    package var partition: UInt16

    package init(name: String, target: WireStart, partition: UInt16 = 0) {
        self.name = name
        self.target = target
        self.partition = partition
    }

    package init?(_ reader: inout WireReader) {
        guard let name = reader.text(), let target = WireStart(&reader), let partition = reader.u16() else {
            return nil
        }
        self.init(name: name, target: target, partition: partition)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeText(name)
        target.write(to: &buffer)
        buffer.writeU16(partition)
    }
}

/// PAUSE: text name, u8 1 to pause and 0 to go on.
package struct PauseBody: Equatable, Sendable {
    package var name: String
    package var isPaused: Bool

    package init(name: String, isPaused: Bool) {
        self.name = name
        self.isPaused = isPaused
    }

    package init?(_ reader: inout WireReader) {
        guard let name = reader.text(), let isPaused = reader.u8(), isPaused <= 1 else { return nil }
        self.init(name: name, isPaused: isPaused == 1)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeText(name)
        buffer.writeU8(isPaused ? 1 : 0)
    }
}

/// BIND, UNBIND: text name, binding.
package struct BindBody: Equatable, Sendable {
    package var name: String
    package var binding: WireBinding

    package init(name: String, binding: WireBinding) {
        self.name = name
        self.binding = binding
    }

    package init?(_ reader: inout WireReader) {
        guard let name = reader.text(), let binding = WireBinding(&reader) else { return nil }
        self.init(name: name, binding: binding)
    }

    package func write(to buffer: inout ByteBuffer) {
        buffer.writeText(name)
        binding.write(to: &buffer)
    }
}
