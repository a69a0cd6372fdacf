import Foundation
import ServerConfiguration
import Testing

/// The messages of a file's problems, its path replaced by `f`.
private func problems(_ yaml: String, environment: [String: String] = [:]) throws -> [String] {
    try withFile(yaml) { path in
        do throws(ConfigurationError) {
            _ = try LoadedConfiguration(ConfigurationSources(file: path, environment: environment))
            return []
        } catch {
            return error.problems.map { $0.description.replacingOccurrences(of: path, with: "f") }
        }
    }
}

private func load(_ yaml: String, environment: [String: String] = [:]) throws -> SluiceConfiguration {
    try withFile(yaml) { path in
        try LoadedConfiguration(ConfigurationSources(file: path, environment: environment)).configuration
    }
}

@Suite struct ConfigurationFileTests {
    @Test("an empty file, one of comments, and one of empty sections mean the defaults")
    func emptyFiles() throws {
        for yaml in ["", "# nothing\n", "mqtt:\nstorage:\n  # segment_size: 1GiB\n", "{}"] {
            #expect(try load(yaml) == SluiceConfiguration(), "\(yaml)")
        }
    }

    @Test("values of every kind are read")
    func everyKind() throws {
        let configuration = try load(
            """
            roles: [store, gateway]
            node: {name: edge-7}
            storage:
              data_directory: /var/lib/sluice
              segment_size: 1GiB
              tail_cache: 8388608
              durability: received
            native:
              enabled: false
            mqtt:
              listen:
                - 127.0.0.1:1883
                - "[::1]:1883"
              connect_timeout: 500ms
              keep_alive_max: 1h
              receive_maximum: 20
            log: {level: debug, format: json}
            """
        )
        #expect(configuration.roles == [.store, .gateway])
        #expect(configuration.node.name == "edge-7")
        #expect(configuration.storage.dataDirectory == "/var/lib/sluice")
        #expect(configuration.storage.segmentSize == 1 << 30)
        #expect(configuration.storage.tailCache == 8 << 20)
        #expect(configuration.storage.durability == .received)
        #expect(!configuration.native.enabled)
        #expect(
            configuration.mqtt.listen == [
                ListenAddress(host: "127.0.0.1", port: 1883), ListenAddress(host: "::1", port: 1883),
            ]
        )
        #expect(configuration.mqtt.connectTimeout == .milliseconds(500))
        #expect(configuration.mqtt.keepAliveMax == .seconds(3600))
        #expect(configuration.mqtt.receiveMaximum == 20)
        #expect(configuration.log.level == .debug)
        #expect(configuration.log.format == .json)
    }

    @Test("JSON is accepted, as it is YAML")
    func json() throws {
        let configuration = try load(#"{"mqtt": {"receive_maximum": 7}, "roles": ["gateway", "store"]}"#)
        #expect(configuration.mqtt.receiveMaximum == 7)
    }

    @Test(
        "each mistake is reported with its line and column, and what to do",
        arguments: [
            (
                "mqtt:\n  max_paket_size: 1MiB\n",
                "f:2:3: mqtt.max_paket_size: unknown key (did you mean mqtt.max_packet_size?)"
            ),
            ("mqqt:\n  listen: x\n", "f:1:1: mqqt: unknown key (did you mean mqtt?)"),
            ("mqtt:\n  tail_cache: 1MiB\n", "f:2:3: mqtt.tail_cache: unknown key (did you mean storage.tail_cache?)"),
            ("mqtt:\n  colour: red\n", "f:2:3: mqtt.colour: unknown key"),
            (
                "mqtt:\n  connect_timeout: 10\n",
                "f:2:20: mqtt.connect_timeout: '10' has no unit (units are ms, s, m, h and d: 10s)"
            ),
            (
                "mqtt:\n  connect_timeout: 10x\n",
                "f:2:20: mqtt.connect_timeout: 'x' is no unit of time (units are ms, s, m, h and d: 10s)"
            ),
            (
                "mqtt:\n  connect_timeout: 1h\n",
                "f:2:20: mqtt.connect_timeout: 1h is out of range; 100ms to 10m is permitted"
            ),
            (
                "storage:\n  segment_size: 64MB\n",
                "f:2:17: storage.segment_size: 'MB' is no unit of size; there are B, KiB, MiB, GiB and TiB (write 64MiB)"
            ),
            (
                "storage:\n  segment_size: 1.5GiB\n",
                "f:2:17: storage.segment_size: '1.5GiB' is not a size such as 64MiB (whole numbers only)"
            ),
            (
                "storage:\n  segment_size: 99999999999GiB\n",
                "f:2:17: storage.segment_size: '99999999999GiB' is too large"
            ),
            ("storage:\n  segment_size: -1\n", "f:2:17: storage.segment_size: '-1' is not a size such as 64MiB"),
            (
                "storage:\n  segment_size: 1KiB\n",
                "f:2:17: storage.segment_size: 1KiB is out of range; 1MiB to 4GiB is permitted"
            ),
            ("mqtt:\n  receive_maximum: many\n", "f:2:20: mqtt.receive_maximum: 'many' is not an integer"),
            (
                "mqtt:\n  receive_maximum: 0\n",
                "f:2:20: mqtt.receive_maximum: 0 is out of range; 1 to 65535 is permitted"
            ),
            ("mqtt:\n  enabled: yes\n", "f:2:12: mqtt.enabled: 'yes' is not true or false"),
            ("mqtt:\n  enabled:\n", "f:2:3: mqtt.enabled: has no value (the default is true)"),
            ("mqtt:\n  enabled: [true]\n", "f:2:12: mqtt.enabled: expected a boolean, not a list"),
            ("mqtt:\n  receive_maximum: {a: 1}\n", "f:2:20: mqtt.receive_maximum: expected an integer, not a section"),
            ("mqtt: 3\n", "f:1:7: mqtt holds keys and values, not '3'"),
            ("mqtt: [a]\n", "f:1:7: mqtt holds keys and values, not a list"),
            ("- a\n", "f:1:1: the document holds keys and values, not a list"),
            (
                "log:\n  level: warn\n",
                "f:2:10: log.level: 'warn' is not one of trace, debug, info, notice, warning, error or critical (did you mean warning?)"
            ),
            (
                "log:\n  level: debgu\n",
                "f:2:10: log.level: 'debgu' is not one of trace, debug, info, notice, warning, error or critical (did you mean debug?)"
            ),
            (
                "node:\n  name: a b\n",
                "f:2:9: node.name: 'a b' is not a name of 1 to 64 letters, digits, '.', '_' or '-'"
            ),
            (
                "storage:\n  data_directory: \"\"\n",
                "f:2:19: storage.data_directory: '' is not a path of 1 to 4095 bytes"
            ),
            (
                "roles: [gateway]\n",
                "f:1:8: roles: split deployment is not supported yet (set roles to [gateway, store])"
            ),
            ("roles: []\n", "f:1:8: roles: the list is empty"),
            ("roles: [gateway, store, gateway]\n", "f:1:25: roles[2]: 'gateway' is listed twice"),
            ("mqtt:\n  enabled: true\n  enabled: true\n", "f:2:3: the key enabled is there twice"),
            ("mqtt: {\n", "f:2:1: did not find expected node content"),
            ("mqtt:\n\tlisten: a\n", "f:2:1: found character that cannot start any token"),
            ("a: 1\n---\nb: 1\n", "f:2:1: found another document"),
        ]
    )
    func mistakes(_ yaml: String, _ expected: String) throws {
        #expect(try problems(yaml) == [expected])
    }

    @Test(
        "an address says what it lacks",
        arguments: [
            ("localhost", "'localhost' has no port; expected host:port, such as 127.0.0.1:1883 or [::1]:1883"),
            (
                ":1883",
                "':1883' has no host; expected host:port, such as 127.0.0.1:1883 or [::1]:1883 (0.0.0.0 or [::] listens on every interface)"
            ),
            (
                "::1:1883",
                "'::1:1883' needs brackets around its IPv6 address; expected host:port, such as 127.0.0.1:1883 or [::1]:1883"
            ),
            ("[host]:1", "'[host]:1' has no IPv6 address in its brackets"),
            ("a/b:1", "'a/b' is no host name or IP address"),
            ("host:65536", "'65536' is no port; ports are 0 to 65535, 0 for any that is free"),
            ("host:+80", "'+80' is no port; ports are 0 to 65535, 0 for any that is free"),
            ("host:", "'' is no port; ports are 0 to 65535, 0 for any that is free"),
        ]
    )
    func addresses(_ address: String, _ expected: String) throws {
        #expect(try problems("mqtt:\n  listen: '\(address)'\n") == ["f:2:11: mqtt.listen: \(expected)"])
    }

    @Test("an element of a list is reported at its own place")
    func listPositions() throws {
        let yaml = """
            mqtt:
              listen:
                - 127.0.0.1:1883
                - 127.0.0.1
                - [a]
            http:
              listen: [127.0.0.1:1, "127.0.0.1:http"]
            """
        #expect(
            try problems(yaml) == [
                "f:5:7: mqtt.listen[2]: expected a value, not a list",
                "f:7:25: http.listen[1]: 'http' is no port; ports are 0 to 65535, 0 for any that is free",
            ]
        )
    }

    @Test("all mistakes are reported at once, in the order of the file")
    func allAtOnce() throws {
        let found = try problems("log: {level: x}\nnoise: 1\nmqtt: {receive_maximum: 0}\n")
        #expect(found.map { $0.prefix(5) } == ["f:1:1", "f:2:1", "f:3:2"])
    }

    @Test("values that contradict each other are reported at the value to change")
    func contradictions() throws {
        #expect(
            try problems("storage: {segment_size: 1MiB, max_batch_size: 2MiB}\nmqtt: {max_outgoing_buffer: 64KiB}\n")
                == [
                    "f:1:47: storage.max_batch_size: 2MiB does not fit into storage.segment_size (1MiB)",
                    "f:2:29: mqtt.max_outgoing_buffer: 64KiB does not hold one packet of mqtt.max_packet_size (1MiB)",
                ]
        )
        #expect(
            try problems("mqtt:\n  listen: 127.0.0.1:7400\n") == [
                "f:2:11: mqtt.listen: 127.0.0.1:7400 is taken by native.listen"
            ]
        )
        #expect(try problems("mqtt:\n  listen: 127.0.0.1:0\nhttp:\n  listen: 127.0.0.1:0\n") == [])
        #expect(try problems("native:\n  enabled: false\nmqtt:\n  listen: 127.0.0.1:7400\n") == [])
        let silent = try problems(
            "native: {enabled: false}\nmqtt: {enabled: false}\namqp: {enabled: false}\nhttp: {enabled: false}\n"
        )
        #expect(silent.count == 1)
        #expect(silent[0].hasPrefix("f:1:19: native.enabled: no protocol is enabled"))
    }

    @Test("a file that is not there, not text, or too large is refused")
    func unreadableFiles() throws {
        #expect(throws: ConfigurationError.self) {
            try LoadedConfiguration(ConfigurationSources(file: "/nonexistent/sluice.yaml"))
        }
        let path = "/nonexistent/sluice.yaml"
        do throws(ConfigurationError) {
            _ = try LoadedConfiguration(ConfigurationSources(file: path))
        } catch {
            #expect(error.description == "\(path):1:1: cannot read \(path): No such file or directory")
        }
        try withFile(Data([0x61, 0xff, 0xfe])) { path in
            #expect(throws: ConfigurationError.self) { try LoadedConfiguration(ConfigurationSources(file: path)) }
        }
        try withFile(String(repeating: "# padding\n", count: 110_000)) { path in
            #expect(throws: ConfigurationError.self) { try LoadedConfiguration(ConfigurationSources(file: path)) }
        }
    }

    @Test("a value is kept elsewhere by a reference, which must be the whole value")
    func references() throws {
        let environment = ["NAME": "edge-1", "ADDRESSES": "127.0.0.1:1, 127.0.0.1:2"]
        #expect(try load("node: {name: '${env:NAME}'}", environment: environment).node.name == "edge-1")
        #expect(try load("mqtt: {listen: '${env:ADDRESSES}'}", environment: environment).mqtt.listen.count == 2)
        try withFile("from-file\n") { secret in
            let configuration = try load("node: {name: '${file:\(secret)}'}")
            #expect(configuration.node.name == "from-file")
        }
        let mistakes = [
            ("x-${env:NAME}", "a reference must be the whole value, not a part of 'x-${env:NAME}'"),
            ("${env:NAME}${env:NAME}", "a reference must be the whole value, not a part of '${env:NAME}${env:NAME}'"),
            ("${env:OTHER}", "the environment variable OTHER is not set"),
            ("${vault:a}", "'vault' is no kind of reference (there are ${env:NAME} and ${file:/path})"),
            ("${NAME}", "'${NAME}' is no reference (there are ${env:NAME} and ${file:/path})"),
            ("${file:/nonexistent}", "cannot read /nonexistent: No such file or directory"),
        ]
        for (value, message) in mistakes {
            #expect(
                try problems("node:\n  name: '\(value)'\n", environment: environment) == [
                    "f:2:9: node.name: \(message)"
                ]
            )
        }
    }
}
