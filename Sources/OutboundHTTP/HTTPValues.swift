/// What is asked of a server.
package struct HTTPRequest: Sendable {
    package enum Method: String, Sendable { case get = "GET", put = "PUT", post = "POST", delete = "DELETE" }

    package var method: Method
    /// Path and query as the request line has them.
    package var target: String
    /// JSON.
    package var body: String?

    package init(_ method: Method, target: String, body: String? = nil) {
        self.method = method
        self.target = target
        self.body = body
    }

    /// - Parameter path: the steps of the path, not yet percent-encoded: `["v1", "topics", "orders/eu"]`.
    package init(_ method: Method, _ path: [String], query: [(name: String, value: String)] = [], body: String? = nil) {
        let path = path.map { "/" + percentEncoded($0) }.joined()
        let query = query.map { "\(percentEncoded($0.name))=\(percentEncoded($0.value))" }.joined(separator: "&")
        self.init(method, target: query.isEmpty ? path : path + "?" + query, body: body)
    }
}

package struct HTTPResponse: Sendable {
    package var status: Int
    /// In lower case, without parameters.
    package var contentType: String?
    package var body: [UInt8]
}

/// RFC 3986: all but the unreserved characters as percent and two hexadecimal digits.
func percentEncoded(_ text: String) -> String {
    var result = ""
    for byte in text.utf8 {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "~"):
            result.unicodeScalars.append(Unicode.Scalar(byte))
        default:
            let digits = String(byte, radix: 16, uppercase: true)
            result += digits.count == 1 ? "%0\(digits)" : "%\(digits)"
        }
    }
    return result
}
