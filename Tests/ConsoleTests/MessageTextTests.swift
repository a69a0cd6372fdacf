import AdminConsole
import ArgumentParser
import Testing

@Suite struct MessageTextTests {
    private func message(_ body: [UInt8], headers: [ShownMessage.Header] = []) -> ShownMessage {
        var message = ShownMessage(
            topic: "orders",
            name: "orders/eu\u{7}",
            partition: 2,
            offset: 7,
            storedAt: 1_795_276_800_000_001,
            body: body
        )
        message.orderingKey = Array("k".utf8)
        message.headers = headers
        return message
    }

    private func text(_ format: String, _ message: ShownMessage, _ escaping: Escaping = .none) throws -> [UInt8] {
        let format = try #require(MessageFormat(argument: format))
        var output: [UInt8] = []
        format.append(message, to: &output, escaping: escaping)
        return output
    }

    @Test("a format has every field, percent signs and escapes")
    func fields() throws {
        let shown = message(Array("21.5".utf8), headers: [.init(name: "a", value: "1"), .init(name: "b", value: "2")])
        #expect(
            try text(#"%t|%p|%o|%k|%b|%S|%h|%%|\t\\\x41\n"#, shown)
                == Array("orders|2|7|k|21.5|4|a=1,b=2|%|\t\\A\n".utf8)
        )
        #expect(try text("%T", shown) == Array("2026-11-21T16:00:00.000001Z".utf8))
    }

    @Test(
        "a format with an unknown letter or an open end is refused",
        arguments: ["%z", "%", "\\", "\\q", "\\x4", "\\xg1"]
    )
    func refusedFormats(format: String) {
        #expect(MessageFormat(argument: format) == nil)
    }

    @Test("a body goes into a pipe byte for byte")
    func rawBody() throws {
        let body: [UInt8] = [0, 0xFF, 0x0A, 0x1B]
        #expect(try text("%b", message(body)) == body)
    }

    @Test("on a terminal a body keeps its lines and steers nothing")
    func terminalBody() throws {
        let shown = message(Array("a\n\tb\u{1B}[2J".utf8))
        #expect(try text("%b", shown, .terminal) == Array("a\n\tb\\u{1B}[2J".utf8))
    }

    @Test("without a format a message is one line, whatever it holds")
    func line() {
        var output: [UInt8] = []
        MessageFormat.line.append(message(Array("a\nb\tc".utf8)), to: &output, escaping: .line)
        #expect(String(decoding: output, as: UTF8.self) == "orders/eu\\u{7}\ta\\nb\\tc\n")
    }

    @Test("JSON has a body as text or in Base64, and repeated headers as a list")
    func json() {
        let headers = [("a", "1"), ("b", "2"), ("a", "3")].map { ShownMessage.Header(name: $0.0, value: $0.1) }
        let shown = message(Array("\"".utf8), headers: headers)
        let rendered = OutputFormat.json.render(shown.record, isTerminal: false, styled: false)
        #expect(
            rendered == #"{"topic":"orders","partition":2,"offset":7,"name":"orders/eu\u0007","ordering_key":"k","#
                + #""stored_at":"2026-11-21T16:00:00.000001Z","headers":{"a":["1","3"],"b":"2"},"encoding":"utf8","#
                + #""body":"\""}"# + "\n"
        )
        let cases: [([UInt8], String)] = [([0xFF], "/w=="), ([0xFF, 0xFE], "//4="), ([0xFF, 0xFE, 0xFD], "//79")]
        for (bytes, expected) in cases {
            let rendered = OutputFormat.json.render(message(bytes).record, isTerminal: false, styled: false)
            #expect(rendered.contains(#""encoding":"base64","body":"\#(expected)""#))
        }
    }

    @Test("a start is first, next, an offset, a time or a time ago")
    func starts() {
        #expect(StartText(argument: "first") == .first)
        #expect(StartText(argument: "next") == .next)
        #expect(StartText(argument: "18446744073709551615") == .offset(.max))
        #expect(StartText(argument: "-5m") == .ago(microseconds: 300_000_000))
        #expect(StartText(argument: "-250ms") == .ago(microseconds: 250_000))
        #expect(StartText(argument: "2026-11-21T16:00:00Z") == .time(microseconds: 1_795_276_800_000_000))
        #expect(StartText(argument: "2026-11-21T17:00:00.25+01:00") == .time(microseconds: 1_795_276_800_250_000))
    }

    @Test(
        "a start that is none of these is refused",
        arguments: ["", "last", "-5", "-m", "5m", "18446744073709551616", "-99999999999999999999d", "2026-11-21", "+5"]
    )
    func refusedStarts(text: String) {
        #expect(StartText(argument: text) == nil)
    }

    @Test("a native address is a host with or without a port")
    func addresses() {
        #expect(ServerAddress(argument: "a.example") == ServerAddress(host: "a.example", port: 7400))
        #expect(ServerAddress(argument: "127.0.0.1:1") == ServerAddress(host: "127.0.0.1", port: 1))
        #expect(ServerAddress(argument: "[::1]:65535") == ServerAddress(host: "::1", port: 65_535))
        #expect(ServerAddress(argument: "[::1]")?.description == "[::1]:7400")
        for text in ["", ":1", "a:", "a:0", "a:65536", "a:+1", "::1", "[::1", "[a]:1", "[::1]1", "a b", "http://a"] {
            #expect(ServerAddress(argument: text) == nil, "\(text)")
        }
    }
}
