/// Every key there is. The order is that of the documentation.
package enum ConfigurationSchema {
    package static let keys: [ConfigurationKey] =
        [
            ConfigurationKey(
                list: "roles",
                \.roles,
                .choice,
                named: "roles",
                "What this process does: accept clients (gateway), hold messages (store). Both are needed: a split "
                    + "deployment is not supported yet."
            ),
            ConfigurationKey(
                "node.name",
                \.node.name,
                .name(maxLength: 64),
                "The node's name. The data directory belongs to the node that first used it, and another name is refused."
            ),
        ] + storage + native + mqtt + amqp + http + log

    private static let storage: [ConfigurationKey] = [
        ConfigurationKey(
            "storage.data_directory",
            \.storage.dataDirectory,
            .path,
            "Where messages are kept. A relative path starts at the server's working directory. The flag --data-dir "
                + "sets it too."
        ),
        ConfigurationKey(
            "storage.segment_size",
            \.storage.segmentSize,
            .size((1 << 20)...(4 << 30)),
            "The size of one file of the commit log, allocated in full ahead of use."
        ),
        ConfigurationKey(
            "storage.tail_cache",
            \.storage.tailCache,
            .size((1 << 20)...(64 << 30)),
            "Memory for the newest part of the log, from which readers that keep up are served."
        ),
        ConfigurationKey(
            "storage.index_memory",
            \.storage.indexMemory,
            .size((1 << 20)...(64 << 30)),
            "Memory for where the newest messages stand, 32 bytes for each inbox that a message or a batch went to and that "
                + "has not taken it. What is more is written to files early."
        ),
        ConfigurationKey(
            "storage.max_batch_size",
            \.storage.maxBatchSize,
            .size((64 << 10)...(16 << 20)),
            "The largest batch of messages that is accepted, and with it the largest message. It must fit into a segment "
                + "and into the tail cache."
        ),
        ConfigurationKey(
            "storage.durability",
            \.storage.durability,
            .choice,
            "When a message is acknowledged where neither topic nor publisher says: synced to the device (durable), or "
                + "written to the operating system's memory (received), which loses the newest messages at a power cut."
        ),
        ConfigurationKey(
            "storage.default_topic_age",
            \.storage.defaultTopicAge,
            .duration(.zero ... .seconds(3_650 * 86_400)),
            "How long the built-in topic keeps messages, for those who read it later: the topic that holds every name that "
                + "no other topic captures. 0s: it keeps only what a subscription still needs."
        ),
        ConfigurationKey(
            "storage.default_topic_size",
            \.storage.defaultTopicSize,
            .size(0...(1 << 50)),
            "How much the built-in topic may keep in the log; 0 for no limit. The oldest messages go first."
        ),
        ConfigurationKey(
            "storage.disk_trim_percent",
            \.storage.diskTrimPercent,
            .integer(50...100),
            "How full the disk may become before topics that are limited by age or size let their oldest messages go "
                + "early. 100: they never do."
        ),
        ConfigurationKey(
            "storage.disk_full_percent",
            \.storage.diskFullPercent,
            .integer(51...100),
            "How full the disk may become before messages are refused. Reading, acknowledging and making room go on."
        ),
    ]

    private static let native: [ConfigurationKey] = [
        ConfigurationKey("native.enabled", \.native.enabled, .boolean, "Whether the native protocol is served."),
        ConfigurationKey(
            list: "native.listen",
            \.native.listen,
            .address,
            named: "addresses",
            "Where the native protocol listens."
        ),
    ]

    private static let mqtt: [ConfigurationKey] = [
        ConfigurationKey("mqtt.enabled", \.mqtt.enabled, .boolean, "Whether MQTT is served."),
        ConfigurationKey(
            list: "mqtt.listen",
            \.mqtt.listen,
            .address,
            named: "addresses",
            "Where MQTT 3.1.1 and 5.0 listen, without TLS."
        ),
        ConfigurationKey(
            list: "mqtt.websocket_listen",
            \.mqtt.websocketListen,
            .address,
            named: "addresses",
            mayBeEmpty: true,
            "Where MQTT listens for WebSocket connections, without TLS, besides the addresses of HTTP."
        ),
        ConfigurationKey(
            "mqtt.websocket_path",
            \.mqtt.websocketPath,
            .urlPath,
            "The path of WebSocket connections: ws://host:port/mqtt."
        ),
        ConfigurationKey(
            "mqtt.websocket_on_http",
            \.mqtt.websocketOnHTTP,
            .boolean,
            "Whether WebSocket connections are taken at http.listen too, on the first request of a connection."
        ),
        ConfigurationKey(
            list: "mqtt.websocket_origins",
            \.mqtt.websocketOrigins,
            .origin,
            named: "origins",
            mayBeEmpty: true,
            "Pages of which other sites may connect with WebSocket from a browser; * for all."
        ),
        ConfigurationKey(
            list: "mqtt.proxy_protocol",
            \.mqtt.proxyProtocol,
            .address,
            named: "addresses",
            mayBeEmpty: true,
            "Those of mqtt.listen and mqtt.websocket_listen at which every connection begins with a PROXY header, version "
                + "1 or 2, because a load balancer is in front. Others can then not connect there."
        ),
        ConfigurationKey(
            "mqtt.max_packet_size",
            \.mqtt.maxPacketSize,
            // 268,435,460 bytes is the largest packet that MQTT can express (5.0 §2.1.4), a little over 256 MiB.
            .size((1 << 10)...(256 << 20)),
            "The largest packet accepted from a client. It must fit into a batch."
        ),
        ConfigurationKey(
            "mqtt.max_topic_length",
            \.mqtt.maxTopicLength,
            .integer(1...65535),
            "How many bytes a topic name or filter may have."
        ),
        ConfigurationKey(
            "mqtt.max_topic_levels",
            \.mqtt.maxTopicLevels,
            .integer(1...128),
            "How many levels a topic name or filter may have."
        ),
        ConfigurationKey(
            "mqtt.max_subscriptions",
            \.mqtt.maxSubscriptions,
            .integer(1...1_000_000),
            "How many topic filters one client may subscribe to; more are refused."
        ),
        ConfigurationKey(
            "mqtt.keep_alive_max",
            \.mqtt.keepAliveMax,
            .duration(.seconds(1)...(.seconds(65535))),
            "The longest keep-alive. An MQTT 5 client that asks for a longer one, or for none, is told this one."
        ),
        ConfigurationKey(
            "mqtt.connect_timeout",
            \.mqtt.connectTimeout,
            .duration(.milliseconds(100)...(.seconds(600))),
            "How long a new connection may take to send its CONNECT."
        ),
        ConfigurationKey(
            "mqtt.receive_maximum",
            \.mqtt.receiveMaximum,
            .integer(1...65535),
            "How many QoS 1 and 2 publishes a client may have unacknowledged."
        ),
        ConfigurationKey(
            "mqtt.max_in_flight",
            \.mqtt.maxInFlight,
            .integer(1...65535),
            "How many QoS 1 and 2 messages are sent to a client before it acknowledges, if it allows as many."
        ),
        ConfigurationKey(
            "mqtt.topic_alias_maximum",
            \.mqtt.topicAliasMaximum,
            .integer(0...65535),
            "How many topic aliases an MQTT 5 client may use on one connection; 0 for none."
        ),
        ConfigurationKey(
            "mqtt.redirect",
            \.mqtt.redirect,
            .choice,
            "When clients that connect are sent to another server: when this one has max_connections (when_full), or "
                + "always, for a time (temporarily) or for good (permanently)."
        ),
        ConfigurationKey(
            list: "mqtt.server_reference",
            \.mqtt.serverReference,
            .address,
            named: "addresses",
            mayBeEmpty: true,
            "The servers that an MQTT 5 client is told then."
        ),
        ConfigurationKey(
            "mqtt.allow_anonymous",
            \.mqtt.allowAnonymous,
            .boolean,
            "Whether clients are accepted that do not authenticate. Without it only MQTT 5 clients with SCRAM-SHA-256 are."
        ),
        ConfigurationKey(
            list: "mqtt.scram_users",
            \.mqtt.scramUsers,
            .scramUser,
            named: "users",
            mayBeEmpty: true,
            "Who can authenticate with SCRAM-SHA-256, the method of MQTT 5 enhanced authentication that is built in."
        ),
        ConfigurationKey(
            "mqtt.max_connections",
            \.mqtt.maxConnections,
            .integer(1...10_000_000),
            "How many MQTT connections are open at most; more are refused."
        ),
        ConfigurationKey(
            "mqtt.connect_rate",
            \.mqtt.connectRate,
            .integer(0...10_000_000),
            "How many clients may connect in a second; more are told to come later. 0 for no limit."
        ),
        ConfigurationKey(
            "mqtt.max_outgoing_buffer",
            \.mqtt.maxOutgoingBuffer,
            .size((16 << 10)...(1 << 30)),
            "How many bytes may wait for a client that reads slowly. It must hold the largest packet."
        ),
        ConfigurationKey(
            "mqtt.max_session_expiry",
            \.mqtt.maxSessionExpiry,
            .duration(.seconds(0)...(.seconds(4_294_967_295))),
            "How long a session may outlive its connection, also of 3.1.1 clients; 0 to keep none."
        ),
        ConfigurationKey(
            "mqtt.max_queued_messages",
            \.mqtt.maxQueuedMessages,
            .integer(1...1_000_000_000),
            "How many messages may wait for one session; the oldest make room."
        ),
        ConfigurationKey(
            "mqtt.sys_interval",
            \.mqtt.sysInterval,
            .duration(.zero ... .seconds(3_600)),
            "How often the values under $SYS/broker are published, as far as they have changed. 0s: never."
        ),
    ]

    private static let amqp: [ConfigurationKey] = [
        ConfigurationKey("amqp.enabled", \.amqp.enabled, .boolean, "Whether AMQP 0-9-1 is served."),
        ConfigurationKey(
            list: "amqp.listen",
            \.amqp.listen,
            .address,
            named: "addresses",
            "Where AMQP 0-9-1 listens, without TLS."
        ),
        ConfigurationKey(
            list: "amqp.proxy_protocol",
            \.amqp.proxyProtocol,
            .address,
            named: "addresses",
            mayBeEmpty: true,
            "Those of amqp.listen at which every connection begins with a PROXY header, version 1 or 2, because a load "
                + "balancer is in front. Others can then not connect there."
        ),
        ConfigurationKey(
            list: "amqp.users",
            \.amqp.users,
            .scramUser,
            named: "users",
            mayBeEmpty: true,
            "Who can log in. While there are none, everybody can, with any name and password."
        ),
        ConfigurationKey(
            "amqp.max_connections",
            \.amqp.maxConnections,
            .integer(1...10_000_000),
            "How many AMQP connections are open at most; more are closed."
        ),
        ConfigurationKey(
            "amqp.max_channels",
            \.amqp.maxChannels,
            .integer(1...65535),
            "How many channels a connection may have open."
        ),
        ConfigurationKey(
            "amqp.max_frame_size",
            \.amqp.maxFrameSize,
            .size((8 << 10)...(16 << 20)),
            "The largest frame that is offered to clients."
        ),
        ConfigurationKey(
            "amqp.max_message_size",
            \.amqp.maxMessageSize,
            .size((1 << 10)...(16 << 20)),
            "The largest body of a message; less where storage.max_batch_size has no room for it and its properties."
        ),
        ConfigurationKey(
            "amqp.heartbeat",
            \.amqp.heartbeat,
            .duration(.zero ... .seconds(65535)),
            "The heartbeat that is proposed to clients; they may choose another. 0s proposes none."
        ),
        ConfigurationKey(
            "amqp.handshake_timeout",
            \.amqp.handshakeTimeout,
            .duration(.milliseconds(100)...(.seconds(600))),
            "How long a new connection may take to open its virtual host."
        ),
        ConfigurationKey(
            "amqp.max_outgoing_buffer",
            \.amqp.maxOutgoingBuffer,
            .size((64 << 10)...(1 << 30)),
            "How many bytes may wait for a client that reads slowly before it gets no more messages."
        ),
    ]

    private static let http: [ConfigurationKey] = [
        ConfigurationKey(
            "http.enabled",
            \.http.enabled,
            .boolean,
            "Whether HTTP is served: messages, administration and health."
        ),
        ConfigurationKey(list: "http.listen", \.http.listen, .address, named: "addresses", "Where HTTP listens."),
        ConfigurationKey(
            "http.max_body_size",
            \.http.maxBodySize,
            .size((1 << 10)...(64 << 20)),
            "The largest request body accepted."
        ),
        ConfigurationKey(
            list: "http.callbacks",
            \.http.callbacks,
            .address,
            named: "addresses",
            mayBeEmpty: true,
            "Where applications may be asked, by HTTP, what became of their transactions; port 0 is any port."
        ),
    ]

    private static let log: [ConfigurationKey] = [
        ConfigurationKey("log.level", \.log.level, .choice, "The least important lines that are written."),
        ConfigurationKey(
            "log.format",
            \.log.format,
            .choice,
            "How lines are written on standard error; auto is text on a terminal and JSON lines otherwise."
        ),
    ]

    static let keysByPath = Dictionary(uniqueKeysWithValues: keys.map { ($0.path, $0) })

    /// The paths that hold keys and are none themselves: `mqtt`.
    static let sections: Set<String> = Set(
        keys.compactMap { key in key.path.lastIndex(of: ".").map { String(key.path[..<$0]) } }
    )

    package static func key(_ path: String) -> ConfigurationKey? { keysByPath[path] }

    /// The key or section that an unknown path most likely meant.
    package static func suggestion(for path: String) -> String? {
        if let dot = path.lastIndex(of: ".") {
            let leaf = String(path[path.index(after: dot)...])
            let section = String(path[..<dot])
            let siblings = keys.map(\.path).filter { $0.hasPrefix(section + ".") }
            let leaves = siblings.map { String($0.dropFirst(section.count + 1)) }
            if let near = nearest(to: leaf, in: leaves) { return "\(section).\(near)" }
            // A right key in the wrong section.
            let elsewhere = keys.map(\.path).filter { $0.hasSuffix("." + leaf) }
            if let only = elsewhere.first, elsewhere.count == 1 { return only }
        }
        return nearest(to: path, in: keys.map(\.path) + sections.sorted())
    }
}
