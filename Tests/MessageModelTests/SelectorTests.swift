import TestSupport
import Testing

@testable import MessageModel

/// A message to be filtered.
struct FilteredMessage {
    var name = "orders/eu"
    var user: [(String, String)] = []
    var tag: String?
    var keys: [String] = []
    var messageID: String?
    var priority: UInt8?
    var expiry: UInt64?
    var origin: OriginFront?
    var orderingKey: String?
    var isRetained = false
    var body: [UInt8] = []
    var born: UInt64 = 5_000_000
    var stored: UInt64 = 6_000_000

    init(_ user: KeyValuePairs<String, String> = [:]) { self.user = user.map { ($0.key, $0.value) } }

    /// Lends it as a record of a stored batch, of which it is the second.
    func withRecord<Result>(_ body: (RecordView, UnsafeRawBufferPointer, BatchView) -> Result) -> Result? {
        var properties = PropertyWriter()
        for (name, value) in user { properties.appendUser(name: name, value: value) }
        if let tag { properties.append(.tag, tag) }
        for key in keys { properties.append(.key, key) }
        if let messageID { properties.append(.messageID, messageID) }
        if let priority { properties.append(.priority, byte: priority) }
        if let expiry { properties.append(.expiry, number: expiry) }
        if let origin { properties.append(.origin, byte: origin.rawValue) }
        var builder = BatchBuilder()
        var fields = RecordFields()
        fields.born = Timestamp(rawValue: 1_000_000)
        builder.append(fields)
        fields.born = Timestamp(rawValue: born)
        fields.isRetained = isRetained
        var bytes = properties.withBytes { properties in
            fields.properties = properties
            return Array((orderingKey ?? "").utf8).withUnsafeBytes { key in
                fields.orderingKey = orderingKey == nil ? nil : key
                return self.body.withUnsafeBytes { body in
                    fields.body = body
                    builder.append(fields)
                    return builder.finish { Array($0) }
                }
            }
        }
        bytes.withUnsafeMutableBytes {
            BatchView.stamp($0, baseOffset: 0, appendTime: Timestamp(rawValue: stored), epoch: 1)
        }
        return bytes.withUnsafeBytes { bytes in
            guard let batch = BatchView(prefixOf: bytes) else { return nil }
            var records = batch.records
            _ = records.next()
            guard let record = records.next() else { return nil }
            return Array(name.utf8).withUnsafeBytes { body(record, $0, batch) }
        }
    }

    func matches(_ selector: Selector) -> Bool? {
        withRecord { selector.matches(record: $0, name: $1, batch: $2) }
    }

    func matches(_ text: String) throws -> Bool? { matches(try Selector(text)) }
}

@Suite("A selector")
struct SelectorTests {
    private let message = FilteredMessage([
        "region": "eu", "amount": "100.50", "count": "7", "big": "9007199254740993", "vip": "True", "off": "false",
        "note": "it's", "empty": "", "region ": "x", "region": "us", "TAGS": "own",
    ])

    @Test(
        "compares numbers as numbers and text as text",
        arguments: [
            ("region = 'eu'", true), ("region = 'us'", false), ("region <> 'us'", true), ("region != 'eu'", false),
            ("region > 'EU'", true), ("region < 'ev' AND region <= 'eu' AND region >= 'eu'", true),
            ("count = 7", true), ("count = 7.0", true), ("count = +7", true), ("count = 70e-1", true),
            ("count = '7'", true), ("count = '7.0'", false), ("count < 10", true), ("count < '10'", false),
            ("10 > count", true), ("-1 < count", true), ("count > -.5", true), ("amount = 100.5", true),
            ("amount > 100.49 AND amount < 100.51", true), ("amount = 1.005E2", true),
            ("big = 9007199254740993", true), ("big = 9007199254740992", false),
            ("big > 9007199254740992 AND big < 9007199254740993.1", true),
            // Neither equal nor in an order.
            ("region > 5", false), ("region <= 5", false), ("region = 5", false), ("region <> 5", true),
            ("NOT region > 5", true), ("empty = ''", true), ("empty <> 0", true),
            ("vip = TRUE", true), ("vip = false", false), ("vip <> FALSE", true), ("region = TRUE", false),
            ("vip", true), ("NOT vip", false), ("off", false), ("NOT off", true), ("region", false),
            ("TRUE", true), ("FALSE", false), ("TRUE = TRUE", true), ("1 < 2 AND 'a' < 'b'", true),
            ("count < amount", true), ("amount < count", false), ("region < note", true),
            ("note = 'it''s'", true), ("\"region \" = 'x'", true), ("Region = 'eu'", false),
        ] as [(String, Bool)]
    )
    func comparisons(text: String, expected: Bool) throws {
        #expect(try message.matches(text) == expected)
    }

    @Test(
        "has ranges and lists, of text and of numbers",
        arguments: [
            ("count BETWEEN 7 AND 7", true), ("count BETWEEN 6.9 AND 10", true), ("count BETWEEN 8 AND 10", false),
            ("count NOT BETWEEN 8 AND 10", true), ("region BETWEEN 'a' AND 'f'", true),
            ("region BETWEEN 1 AND 2", false), ("region NOT BETWEEN 1 AND 2", true),
            ("8 BETWEEN count AND amount", true), ("count between 1 and 9 and region = 'eu'", true),
            ("region IN ('us', 'eu')", true), ("region IN ('us')", false), ("region NOT IN ('us')", true),
            ("region not in ('eu')", false), ("count IN (1, 7.00)", true), ("count IN ('07', '7')", true),
            ("vip IN (TRUE)", true), ("region IN (1, TRUE, 'eu')", true),
        ] as [(String, Bool)]
    )
    func rangesAndLists(text: String, expected: Bool) throws {
        #expect(try message.matches(text) == expected)
    }

    @Test(
        "does not match what is unknown, whichever way it is turned",
        arguments: [
            ("x = 1", false), ("NOT x = 1", false), ("x <> 1", false), ("x = x", false), ("x <> x", false),
            ("x > 'a'", false), ("x", false), ("NOT x", false), ("x IN ('a')", false), ("x NOT IN ('a')", false),
            ("x LIKE '%'", false), ("x NOT LIKE '%'", false), ("x BETWEEN 1 AND 2", false),
            ("x NOT BETWEEN 1 AND 2", false), ("x IS NULL", true), ("x IS NOT NULL", false), ("NOT x IS NULL", false),
            ("count IS NULL", false), ("count IS NOT NULL", true), ("empty IS NOT NULL", true),
            // The tables of Jakarta Messaging 3.1 §3.8.1.2.
            ("x = 1 AND TRUE", false), ("x = 1 AND FALSE", false), ("NOT (x = 1 AND FALSE)", true),
            ("NOT (x = 1 AND TRUE)", false), ("x = 1 OR TRUE", true), ("TRUE OR x = 1", true),
            ("x = 1 OR FALSE", false), ("NOT (x = 1 OR FALSE)", false), ("NOT (x = 1 AND x = 1)", false),
            // Only one bound is known, and that is enough.
            ("count BETWEEN 8 AND x", false), ("count NOT BETWEEN 8 AND x", true), ("count BETWEEN 1 AND x", false),
            ("count NOT BETWEEN 1 AND x", false),
        ] as [(String, Bool)]
    )
    func unknown(text: String, expected: Bool) throws {
        #expect(try message.matches(text) == expected)
    }

    @Test(
        "matches patterns",
        arguments: [
            ("", "", true), ("", "a", false), ("%", "", true), ("%%", "abc", true), ("_", "", false), ("_", "a", true),
            ("_", "ab", false), ("__", "é", false), ("_", "é", true), ("_x", "\u{1F600}x", true), ("%_", "", false),
            ("a%", "abc", true), ("a%", "ba", false), ("%c", "abc", true), ("%c", "abcd", false), ("a%c", "ac", true),
            ("a_c", "abc", true), ("a_c", "ac", false), ("%b%", "abc", true), ("%ab%ab%", "ab", false),
            ("%aab", "aaab", true), ("a%b%c", "aXbYbZc", true), ("a%b%c", "acb", false), ("A", "a", false),
            ("%é", "aé", true), ("%\\%", "100\\", true), ("a''b", "a'b", true), ("%_%_", "é", false),
        ] as [(String, String, Bool)]
    )
    func patterns(pattern: String, text: String, expected: Bool) throws {
        let message = FilteredMessage(["x": text])
        #expect(try message.matches("x LIKE '\(pattern)'") == expected)
        #expect(try message.matches("x NOT LIKE '\(pattern)'") == !expected)
    }

    @Test("takes the special meaning from what stands behind the escape character")
    func escapes() throws {
        #expect(try FilteredMessage(["x": "50%"]).matches("x LIKE '__\\%' ESCAPE '\\'") == true)
        #expect(try FilteredMessage(["x": "501"]).matches("x LIKE '__\\%' ESCAPE '\\'") == false)
        #expect(try FilteredMessage(["x": "a_b!"]).matches("x LIKE 'a!_b!!' escape '!'") == true)
        #expect(try FilteredMessage(["x": "a_b!"]).matches("x LIKE '%é_é_%' ESCAPE 'é'") == false)
        #expect(try FilteredMessage(["x": "__"]).matches("x LIKE 'é_é_' ESCAPE 'é'") == true)
        #expect(try FilteredMessage(["x": "%"]).matches("x LIKE '%%' ESCAPE '%'") == true)
    }

    @Test("reads the fields of a message under names of their own, and in quotes user properties")
    func fields() throws {
        var message = message
        #expect(try message.matches("TAGS IS NULL AND \"TAGS\" = 'own' AND KEYS IS NULL AND _priority = 0") == true)
        message.tag = "paid"
        message.keys = ["k1", "k2"]
        message.messageID = "m-17"
        message.priority = 9
        message.expiry = 12_345_678
        message.origin = .amqp
        message.orderingKey = "customer-4"
        message.isRetained = true
        message.body = [1, 2, 3]
        for text in [
            "TAGS = 'paid' AND \"TAGS\" = 'own'", "_message_id LIKE 'm-%'", "_priority > 8.5 AND _priority IN (9)",
            "_expires_at = 12345", "_origin = 'amqp'", "_ordering_key = 'customer-4'", "_retained", "_retained = TRUE",
            "_size = 3", "_name = 'orders/eu'", "_time = 6000 AND _born = 5000", "_deliver_at IS NULL",
            "_correlation_id IS NULL AND _reply_to IS NULL AND _content_type IS NULL", "_routing_key IS NULL",
            "_time BETWEEN _born AND 6000.0", "_unknown IS NULL", "5 < _priority AND _priority <> count",
            // Of several keys, one is enough, and with NOT none may be it.
            "KEYS = 'k2'", "KEYS IN ('k0', 'k1')", "KEYS LIKE '%2'", "KEYS BETWEEN 'k1' AND 'k1'", "'k2' = KEYS",
            "KEYS <> 'k3'", "NOT KEYS <> 'k1'", "KEYS IS NOT NULL", "KEYS > 'k1'", "KEYS NOT IN ('k3')",
        ] { #expect(try message.matches(text) == true, "\(text)") }
        for text in ["KEYS <> 'k1'", "KEYS NOT IN ('k1')", "KEYS > 'k2'", "_retained <> TRUE", "_name = 'orders'"] {
            #expect(try message.matches(text) == false, "\(text)")
        }
        #expect(try Selector("_name = 'a' OR b").needsName)
        #expect(try !Selector("\"_name\" = 'a'").needsName)
        let withoutTimes = try Selector("_time IS NULL AND _born IS NULL")
        #expect(
            message.withRecord { record, name, _ in withoutTimes.matches(record: record, name: name, batch: nil) }
                == true
        )
    }

    @Test("binds NOT closer than AND, and AND closer than OR")
    func precedence() throws {
        for (loose, tight) in [
            ("a OR b AND c", "a OR (b AND c)"), ("a AND b OR c", "(a AND b) OR c"), ("NOT a AND b", "(NOT a) AND b"),
            ("NOT a = 1 OR b", "(NOT (a = 1)) OR b"), ("a AND b AND c", "a AND (b AND c)"),
            ("a BETWEEN 1 AND 2 AND b", "(a BETWEEN 1 AND 2) AND b"), ("((a))", "a"), ("a NOT IN (1)", "NOT a IN (1)"),
            ("a <> 1", "a != 1"), ("a = TRUE", "a"), ("\"a\" is null", "a IS NULL"),
        ] { #expect(try Selector(loose) == Selector(tight), "\(loose)") }
        #expect(try Selector("(a OR b) AND c") != Selector("a OR b AND c"))
        #expect(try Selector("NOT (a AND b)") != Selector("NOT a AND b"))
    }

    @Test(
        "is written in one form",
        arguments: [
            ("a=1", "a = 1"), ("( a ) or not(b)and c", "a = TRUE OR NOT b = TRUE AND c = TRUE"),
            ("not(a=1 or b=2)", "NOT (a = 1 OR b = 2)"), ("(a or b) and c", "(a = TRUE OR b = TRUE) AND c = TRUE"),
            ("not a like '50\\%' escape '\\'", "a NOT LIKE '50\\%' ESCAPE '\\'"), ("a like 'b\\'", "a LIKE 'b\\'"),
            ("a like '!%\\' escape '!'", "a LIKE '\\%\\\\' ESCAPE '\\'"), ("\"and\" = 'x''y'", "\"and\" = 'x''y'"),
            ("\"a b\"\"c\" is not null", "\"a b\"\"c\" IS NOT NULL"), ("\"KEYS\" in(1,'b')", "\"KEYS\" IN (1, 'b')"),
            ("TAGS = 'a'", "TAGS = 'a'"), ("(a and b) and c", "(a = TRUE AND b = TRUE) AND c = TRUE"),
            ("größe > -1e+3", "größe > -1e+3"), ("NOT NOT TRUE", "NOT NOT TRUE"),
            ("not (a between 1 and 2)", "a NOT BETWEEN 1 AND 2"),
        ] as [(String, String)]
    )
    func normalForm(text: String, expected: String) throws {
        let selector = try Selector(text)
        #expect(selector.description == expected)
        #expect(try Selector(expected) == selector)
    }

    @Test(
        "tells where its text is wrong and what should stand there",
        arguments: [
            ("price     >= ", 14, 13, "expected a value after '>=' at column 14, found end"),
            ("", 1, 0, "expected a condition at column 1, found end"),
            ("a = 1 b", 7, 6, "expected AND, OR or the end after '1' at column 7, found 'b'"),
            ("a =", 4, 3, "expected a value after '=' at column 4, found end"),
            ("a = = 1", 5, 4, "expected a value after '=' at column 5, found '='"),
            ("(a = 1", 7, 6, "expected AND, OR or ')' after '1' at column 7, found end"),
            ("a = 1)", 6, 5, "expected AND, OR or the end after '1' at column 6, found ')'"),
            ("a AND", 6, 5, "expected a condition after 'AND' at column 6, found end"),
            ("größe = 'abc", 9, 10, "no closing ' for the text that begins at column 9"),
            ("\"x = 1", 1, 0, "no closing \" for the name that begins at column 1"),
            ("a = 1 ; b", 7, 6, "a selector has no such character as stands at column 7, found ';'"),
            ("a = 1.2.3", 5, 4, "expected a number at column 5, found '1.2.3'"),
            ("a = 12x", 5, 4, "expected a number at column 5, found '12x'"),
            ("a = - 1", 5, 4, "expected a number at column 5, found '-'"),
            ("a NOT 5", 7, 6, "expected BETWEEN, IN or LIKE after 'NOT' at column 7, found '5'"),
            ("a IN 'b'", 6, 5, "expected '(' after 'IN' at column 6, found 'b'"),
            ("a IN ()", 7, 6, "expected a value after '(' at column 7, found ')'"),
            ("a IN ('b' 'c')", 11, 10, "expected ',' or ')' after 'b' at column 11, found 'c'"),
            ("a IN (b)", 7, 6, "in a list, expected text, a number, TRUE or FALSE at column 7"),
            ("5 IN (5)", 1, 0, "expected a name before IN at column 1, found '5'"),
            ("a LIKE b", 8, 7, "expected a pattern in quotes after 'LIKE' at column 8, found 'b'"),
            ("a LIKE 'b' ESCAPE '!!'", 19, 18, "the escape is one character at column 19"),
            (
                "a LIKE 'b!c' ESCAPE '!'", 8, 7,
                "in a pattern, the escape character stands before %, _ or itself at column 8"
            ),
            (
                "a LIKE 'b!' ESCAPE '!'", 8, 7,
                "in a pattern, the escape character stands before %, _ or itself at column 8"
            ),
            ("_size LIKE '5'", 1, 0, "LIKE compares text, which '_size' is not at column 1"),
            ("a BETWEEN 1", 12, 11, "expected AND and the upper bound after '1' at column 12, found end"),
            ("a BETWEEN 2 AND 1", 17, 16, "the lower bound stands first at column 17, found '1'"),
            ("a BETWEEN 2 AND 'b'", 17, 16, "expected a number at column 17, found 'b'"),
            ("a IS 5", 6, 5, "expected NULL or NOT NULL after 'IS' at column 6, found '5'"),
            ("a = NULL", 5, 4, "nothing is equal to NULL; write IS NULL or IS NOT NULL, at column 5"),
            ("a < TRUE", 5, 4, "TRUE and FALSE have no order; compare with = or <> at column 5, found 'TRUE'"),
            ("_priority = 'high'", 13, 12, "expected a number at column 13, found 'high'"),
            ("_retained = 1", 13, 12, "expected TRUE or FALSE at column 13, found '1'"),
            ("TAGS = TRUE", 8, 7, "expected text in quotes at column 8, found 'TRUE'"),
            ("_priority AND b", 11, 10, "expected a comparison after '_priority' at column 11, found 'AND'"),
            ("'a'", 4, 3, "expected a comparison after 'a' at column 4, found end"),
            ("\"\" = 1", 1, 0, "a name has at least one character at column 1"),
            ("ab\u{7}", 3, 2, "a selector has no such character as stands at column 3, found a control character"),
        ] as [(String, Int, Int, String)]
    )
    func errors(text: String, column: Int, offset: Int, description: String) {
        let error = #expect(throws: SelectorError.self) { try Selector(text) }
        #expect(error?.description == description)
        #expect(error?.column == column && error?.offset == offset)
    }

    @Test("has limits that nothing in its text can pass")
    func limits() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "(", count: depth) + "a" + String(repeating: ")", count: depth)
        }
        #expect(try Selector(nested(Selector.maxDepth)) == Selector("a"))
        #expect(throws: SelectorError.self) { try Selector(nested(Selector.maxDepth + 1)) }
        #expect(throws: SelectorError.self) { try Selector(nested(1_500)) }
        #expect(throws: SelectorError.self) { try Selector(String(repeating: "NOT ", count: 1_000) + "a") }
        let long = Array(repeating: "a", count: 256).joined(separator: " AND ")
        #expect(try FilteredMessage(["a": "true"]).matches(long) == true)
        #expect(throws: SelectorError.self) { try Selector(long + " OR b") }
        let names = (0..<Selector.maxNames).map { "n\($0)" }
        #expect(throws: Never.self) { try Selector(names.joined(separator: " OR ")) }
        #expect(throws: SelectorError.self) { try Selector((names + ["m"]).joined(separator: " OR ")) }
        #expect(throws: SelectorError.self) { try Selector("a = '" + String(repeating: "x", count: 4_096) + "'") }
        #expect(throws: SelectorError.self) {
            try ([0x61, 0x3D, 0x27, 0xFF, 0x27] as [UInt8]).withUnsafeBytes { _ = try Selector(utf8: $0) }
        }
    }

    @Test("does not match where a message makes it too slow")
    func steps() throws {
        let slow = FilteredMessage(["a": String(repeating: "a", count: 100_000)])
        let pattern = String(repeating: "a", count: 1_000) + "b"
        #expect(try slow.matches("a LIKE '%\(pattern)' OR TRUE") == false)
        #expect(try slow.matches("NOT a LIKE '%\(pattern)'") == false)
        #expect(try slow.matches("a LIKE '%a'") == true)
        #expect(try slow.matches("b IS NULL") == true)
    }
}
