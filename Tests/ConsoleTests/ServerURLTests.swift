import AdminConsole
import OutboundHTTP
import Testing

@Suite struct ServerURLTests {
    @Test(
        "a server's address is a scheme, a host and perhaps a port",
        arguments: [
            ("http://127.0.0.1:7480", "http://127.0.0.1:7480"), ("http://mq.example/", "http://mq.example:7480"),
            ("HTTP://[::1]:80", "http://[::1]:80"), ("http://[::1]", "http://[::1]:7480"),
        ]
    )
    func accepted(_ text: String, _ expected: String) throws {
        #expect(try ServerURL(text).description == expected)
    }

    @Test(
        "anything else is refused, and says why",
        arguments: [
            ("", "it does not begin with http://"), ("localhost:7480", "it does not begin with http://"),
            ("https://a", "https is not supported yet"), ("http://", "it has no host"),
            ("http://:80", "it has no host"), ("http://a:0", "'0' is no port"), ("http://a:x", "'x' is no port"),
            ("http://a:70000", "'70000' is no port"),
            ("http://a/v1", "it has a path, and the server's API is at the top"),
            ("http://a?b", "it has a path, and the server's API is at the top"),
            ("http://[::1", "a bracket is not closed"), ("http://[::1]x", "only a port follows the brackets"),
            ("http://u:p@a", "a host is made of letters, digits, '.' and '-'"),
            ("http://a\r\nX: b", "a host is made of letters, digits, '.' and '-'"),
        ]
    )
    func refused(_ text: String, _ why: String) {
        do throws(CommandFailure) {
            _ = try ServerURL(text)
            Issue.record("accepted")
        } catch {
            #expect(error.exitClass == .usage)
            #expect(error.why == why)
        }
    }

    @Test("a name cannot leave its step of the path")
    func encoding() {
        let request = HTTPRequest(
            .get,
            ["v1", "topics", "a/b ü?#\r\n%2F"],
            query: [("page_token", "a&b=c"), ("limit", "1")]
        )
        #expect(request.target == "/v1/topics/a%2Fb%20%C3%BC%3F%23%0D%0A%252F?page_token=a%26b%3Dc&limit=1")
    }
}
