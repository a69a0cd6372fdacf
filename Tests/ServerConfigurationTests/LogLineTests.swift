import Foundation
import Logging
import Observability
import Synchronization
import Testing

/// The lines of a handler, in the order written.
private final class Lines: Sendable {
    private let lines = Mutex<[String]>([])
    var all: [String] { lines.withLock { $0 } }

    func logger(_ format: LogLineFormat, level: Logger.Level = .trace) -> Logger {
        Logger(label: "mqtt") { label in
            // 2026-11-21T14:05:33.007Z
            LineLogHandler(label: label, level: level, format: format) {
                Timestamp(milliseconds: 1_795_269_933_007)
            } write: { line in
                self.lines.withLock { $0.append(String(decoding: line, as: UTF8.self)) }
            }
        }
    }
}

@Suite struct LogLineTests {
    @Test("a text line has time, level, label, message and metadata in order of keys")
    func text() {
        let lines = Lines()
        var logger = lines.logger(.text(colors: false))
        logger[metadataKey: "node"] = "a"
        logger.warning("refused", metadata: ["client": "dev 1", "count": "\(3)", "list": ["x", "y z"], "empty": ""])
        #expect(
            lines.all == [
                #"2026-11-21T14:05:33.007Z warning  mqtt: refused client="dev 1" count=3 empty="" list=[x,"y z"] node=a"#
                    + "\n"
            ]
        )
    }

    @Test("a JSON line is one object with the same content")
    func json() throws {
        let lines = Lines()
        lines.logger(.json).info(
            "a \"quoted\" word\n",
            metadata: ["count": .stringConvertible(3), "msg": "x", "inner": ["list": ["1"], "flag": "\(true)"]]
        )
        #expect(
            lines.all == [
                #"{"ts":"2026-11-21T14:05:33.007Z","level":"info","logger":"mqtt","msg":"a \"quoted\" word\n","#
                    + #""count":3,"inner":{"flag":"true","list":["1"]},"_msg":"x"}"# + "\n"
            ]
        )
        let data = Data(lines.all[0].utf8)
        #expect(try JSONSerialization.jsonObject(with: data) is [String: Any])
    }

    @Test("what a client sends can forge no line and steer no terminal")
    func escaping() throws {
        let hostile = "a\nb\r\u{1B}[2J\u{7F}\u{9B}\u{2028}\u{202E}\u{0}ä😀"
        let lines = Lines()
        lines.logger(.text(colors: false)).info("\(hostile)", metadata: ["\(hostile)": "\(hostile)"])
        lines.logger(.json).info("\(hostile)", metadata: ["\(hostile)": "\(hostile)"])
        for line in lines.all {
            let inside = line.dropLast().unicodeScalars
            #expect(inside.allSatisfy { $0.value >= 0x20 && $0 != "\u{9B}" && $0 != "\u{202E}" && $0 != "\u{7F}" })
            #expect(line.hasSuffix("\n"))
            #expect(line.contains("ä😀"))
        }
        #expect(lines.all[0].contains(#": a\nb\r\u{1B}[2J\u{7F}\u{9B}\u{2028}\u{202E}\u{0}ä😀 "#))
        let object = try JSONSerialization.jsonObject(with: Data(lines.all[1].utf8)) as? [String: String]
        #expect(object?["msg"] == hostile)
        #expect(object?[hostile] == hostile)
    }

    @Test("colours surround the level alone")
    func colors() {
        let lines = Lines()
        lines.logger(.text(colors: true)).error("x")
        #expect(lines.all == ["2026-11-21T14:05:33.007Z \u{1B}[31merror\u{1B}[0m    mqtt: x\n"])
    }

    @Test("lines below the level are not written")
    func level() {
        let lines = Lines()
        let logger = lines.logger(.json, level: .notice)
        logger.info("no")
        logger.notice("yes")
        #expect(lines.all.count == 1)
    }

    @Test("a time before 1970 and one on a leap day are written right")
    func timestamps() {
        #expect(Timestamp(milliseconds: -1).description == "1969-12-31T23:59:59.999Z")
        #expect(Timestamp(milliseconds: 1_709_164_800_000).description == "2024-02-29T00:00:00.000Z")
    }
}
