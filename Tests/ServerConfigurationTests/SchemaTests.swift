import Foundation
import ServerConfiguration
import Testing

@Suite struct SchemaTests {
    @Test("each file in configs/ is valid")
    func shippedFiles() throws {
        let folder = repository.appendingPathComponent("configs")
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasSuffix(".yaml") }
        #expect(files.contains("standalone.yaml"))
        for file in files {
            let path = folder.appendingPathComponent(file).path
            #expect(throws: Never.self, "\(file)") { try LoadedConfiguration(ConfigurationSources(file: path)) }
        }
    }

    @Test("configs/standalone.yaml says every key, each with its default")
    func standaloneIsComplete() throws {
        let path = repository.appendingPathComponent("configs/standalone.yaml").path
        let loaded = try LoadedConfiguration(ConfigurationSources(file: path))
        #expect(loaded.configuration == SluiceConfiguration())
        for key in ConfigurationSchema.keys {
            #expect(loaded.origin(of: key.path) != .builtIn, "\(key.path) is missing")
        }
    }

    @Test("every default is permitted, and written it reads as itself", arguments: ConfigurationSchema.keys.map(\.path))
    func defaults(_ path: String) throws {
        let key = try #require(ConfigurationSchema.key(path))
        let flag = ConfigurationSources.Flag(key: path, value: key.defaultText, name: "test")
        #expect(try LoadedConfiguration(ConfigurationSources(flags: [flag])).configuration == SluiceConfiguration())
    }

    @Test("docs/configuration.md describes every key as the schema does")
    func documentation() throws {
        let page = try String(contentsOf: repository.appendingPathComponent("docs/configuration.md"), encoding: .utf8)
        let lines = page.split(separator: "\n").map(String.init)
        let expected = ConfigurationSchema.keys.map { key in
            let permitted = key.limits.isEmpty ? key.kind : "\(key.kind): \(key.limits)"
            return "| `\(key.path)` | \(permitted) | `\(key.defaultText)` | \(key.takesEffect.rawValue) "
                + "| \(key.documentation) |"
        }
        // On failure this is the table to put into the page.
        #expect(lines.filter { $0.hasPrefix("| `") && $0.contains(".") || $0.hasPrefix("| `roles`") } == expected)
    }

    @Test("environment names are unique and follow the path")
    func environmentNames() {
        #expect(ConfigurationSchema.key("mqtt.max_packet_size")?.environmentName == "SLUICE_MQTT__MAX_PACKET_SIZE")
        #expect(Set(ConfigurationSchema.keys.map(\.environmentName)).count == ConfigurationSchema.keys.count)
    }

    @Test("no default listens beyond this machine")
    func loopback() {
        let configuration = SluiceConfiguration()
        let addresses = configuration.native.listen + configuration.mqtt.listen + configuration.http.listen
        #expect(addresses.allSatisfy { $0.host == "127.0.0.1" })
    }
}
