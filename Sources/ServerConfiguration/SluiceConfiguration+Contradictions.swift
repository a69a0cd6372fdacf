extension SluiceConfiguration {
    /// Values that are right one by one and wrong together, by the key to change.
    func contradictions() -> [(key: String, message: String, hint: String?)] {
        var found: [(key: String, message: String, hint: String?)] = []
        func require(_ holds: Bool, _ key: String, _ message: String, hint: String? = nil) {
            if !holds { found.append((key, message, hint)) }
        }
        require(
            Role.allCases.allSatisfy(roles.contains),
            "roles",
            "split deployment is not supported yet",
            hint: "set roles to [gateway, store]"
        )
        require(
            storage.maxBatchSize <= storage.segmentSize,
            "storage.max_batch_size",
            "\(Units.text(bytes: storage.maxBatchSize)) does not fit into storage.segment_size"
                + " (\(Units.text(bytes: storage.segmentSize)))"
        )
        require(
            storage.maxBatchSize <= storage.tailCache,
            "storage.tail_cache",
            "\(Units.text(bytes: storage.tailCache)) does not hold one batch of storage.max_batch_size"
                + " (\(Units.text(bytes: storage.maxBatchSize)))"
        )
        require(
            storage.diskTrimPercent <= storage.diskFullPercent,
            "storage.disk_trim_percent",
            "\(storage.diskTrimPercent) is more than storage.disk_full_percent (\(storage.diskFullPercent))"
        )
        if mqtt.enabled {
            require(
                mqtt.maxPacketSize <= storage.maxBatchSize,
                "mqtt.max_packet_size",
                "\(Units.text(bytes: mqtt.maxPacketSize)) does not fit into storage.max_batch_size"
                    + " (\(Units.text(bytes: storage.maxBatchSize)))"
            )
            require(
                mqtt.maxPacketSize <= mqtt.maxOutgoingBuffer,
                "mqtt.max_outgoing_buffer",
                "\(Units.text(bytes: mqtt.maxOutgoingBuffer)) does not hold one packet of mqtt.max_packet_size"
                    + " (\(Units.text(bytes: mqtt.maxPacketSize)))"
            )
            for address in mqtt.proxyProtocol {
                require(
                    mqtt.listen.contains(address) || mqtt.websocketListen.contains(address),
                    "mqtt.proxy_protocol",
                    "\(address) is not in mqtt.listen or mqtt.websocket_listen"
                )
            }
        }
        if amqp.enabled {
            for address in amqp.proxyProtocol {
                require(
                    amqp.listen.contains(address),
                    "amqp.proxy_protocol",
                    "\(address) is not in amqp.listen"
                )
            }
        }
        let fronts = [
            ("native.listen", native.enabled, native.listen), ("mqtt.listen", mqtt.enabled, mqtt.listen),
            ("mqtt.websocket_listen", mqtt.enabled, mqtt.websocketListen), ("amqp.listen", amqp.enabled, amqp.listen),
            ("http.listen", http.enabled, http.listen),
        ]
        var users: [ListenAddress: String] = [:]
        for (name, enabled, addresses) in fronts where enabled {
            for address in addresses where address.port != 0 {
                if let other = users.updateValue(name, forKey: address) {
                    require(false, name, "\(address) is taken by \(other)")
                }
            }
        }
        require(
            fronts.contains { $0.1 },
            "native.enabled",
            "no protocol is enabled, so nobody could connect",
            hint: "enable one of native, mqtt, amqp and http"
        )
        return found
    }
}
