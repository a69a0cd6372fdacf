import ServerConfiguration
import Testing

@Suite struct PrecedenceTests {
    private let yaml = """
        mqtt:
          receive_maximum: 2
          topic_alias_maximum: 2
          max_connections: 2
        """
    private let environment = ["SLUICE_MQTT__TOPIC_ALIAS_MAXIMUM": "3", "SLUICE_MQTT__MAX_CONNECTIONS": "3"]

    @Test("defaults give way to the file, the file to the environment, the environment to flags")
    func order() throws {
        try withFile(yaml) { path in
            let flag = try #require(ConfigurationSources.Flag(assignment: "mqtt.max_connections=4"))
            let loaded = try LoadedConfiguration(
                ConfigurationSources(file: path, environment: environment, flags: [flag])
            )
            #expect(loaded.configuration.mqtt.maxPacketSize == SluiceConfiguration().mqtt.maxPacketSize)
            #expect(loaded.configuration.mqtt.receiveMaximum == 2)
            #expect(loaded.configuration.mqtt.topicAliasMaximum == 3)
            #expect(loaded.configuration.mqtt.maxConnections == 4)

            #expect(loaded.origin(of: "mqtt.max_packet_size") == .builtIn)
            #expect(loaded.origin(of: "mqtt.receive_maximum") == .file(path: path, line: 2, column: 20))
            #expect(loaded.origin(of: "mqtt.topic_alias_maximum").description == "SLUICE_MQTT__TOPIC_ALIAS_MAXIMUM")
            #expect(loaded.origin(of: "mqtt.max_connections").description == "--set mqtt.max_connections")
        }
    }

    @Test("of two flags for one key the last one counts")
    func lastFlag() throws {
        let flags = ["node.name=a", "node.name=b"].compactMap(ConfigurationSources.Flag.init(assignment:))
        #expect(try LoadedConfiguration(ConfigurationSources(flags: flags)).configuration.node.name == "b")
    }

    @Test("a list in the environment or a flag is separated by commas")
    func lists() throws {
        let flag = try #require(ConfigurationSources.Flag(assignment: "http.listen=127.0.0.1:1, [::1]:2"))
        let sources = ConfigurationSources(environment: ["SLUICE_ROLES": "store,gateway"], flags: [flag])
        let configuration = try LoadedConfiguration(sources).configuration
        #expect(configuration.roles == [.store, .gateway])
        #expect(configuration.http.listen.map(\.description) == ["127.0.0.1:1", "[::1]:2"])
    }

    @Test("variables of other programs and of the commands are left alone")
    func otherVariables() throws {
        let environment = ["HOME": "/root", "SLUICE_URL": "http://a", "SLUICE_DATA": "x", "OTHER__THING": "1"]
        #expect(
            try LoadedConfiguration(ConfigurationSources(environment: environment)).configuration
                == SluiceConfiguration()
        )
    }

    @Test("mistakes in variables and flags are reported by name")
    func mistakes() throws {
        let flags = ["mqtt.lisen=127.0.0.1:1", "mqtt=1", "mqtt.enabled=on"]
            .compactMap(ConfigurationSources.Flag.init(assignment:))
        let environment = ["SLUICE_MQTT__LISEN": "127.0.0.1:1", "SLUICE_LOG__LEVEL": "loud"]
        do throws(ConfigurationError) {
            _ = try LoadedConfiguration(ConfigurationSources(environment: environment, flags: flags))
            Issue.record("the configuration was accepted")
        } catch {
            #expect(
                error.problems.map(\.description) == [
                    "SLUICE_LOG__LEVEL: log.level: 'loud' is not one of trace, debug, info, notice, warning, error or critical",
                    "SLUICE_MQTT__LISEN: unknown key (did you mean SLUICE_MQTT__LISTEN?)",
                    "--set mqtt.lisen: unknown key (did you mean mqtt.listen?)",
                    "--set mqtt: mqtt is a section; set one of its keys",
                    "--set mqtt.enabled: mqtt.enabled: 'on' is not true or false",
                ]
            )
        }
    }

    @Test("an assignment needs a key and an equals sign", arguments: ["", "mqtt.listen", "=1"])
    func assignments(_ text: String) {
        #expect(ConfigurationSources.Flag(assignment: text) == nil)
    }
}
