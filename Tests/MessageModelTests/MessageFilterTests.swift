import Testing

@testable import MessageModel

@Suite("A filter of messages")
struct MessageFilterTests {
    private func matches(_ expression: TagExpression, _ tag: String?) -> Bool {
        guard let tag else { return expression.matches(nil) }
        return Array(tag.utf8).withUnsafeBytes { expression.matches($0) }
    }

    @Test("names the tags that are wanted")
    func tags() throws {
        let expression = try TagExpression(" a||  b c || é||a")
        #expect(matches(expression, "a") && matches(expression, "b c") && matches(expression, "é"))
        #expect(!matches(expression, "A") && !matches(expression, "") && !matches(expression, nil))
        #expect(!matches(expression, "aa") && !matches(expression, "b"))
        #expect(expression.description == "a || b c || é")
        #expect(try TagExpression(expression.description) == expression)
    }

    @Test("with a star wants every message, also one without a tag")
    func allTags() throws {
        for text in ["*", " * ", "a || *", "*||b"] {
            let expression = try TagExpression(text)
            #expect(expression.isAll && expression == .all && expression.description == "*")
            #expect(matches(expression, nil) && matches(expression, "x"))
        }
    }

    @Test(
        "tells where tags are wrong",
        arguments: [
            ("", "expected a tag or '*' at column 1, found end"),
            ("a ||", "expected a tag or '*' at column 5, found end"),
            ("a || || b", "expected a tag or '*' at column 6, found '||'"),
            ("é | b", "expected '||' between tags at column 3, found '|'"),
            ("a ||| b", "expected '||' between tags at column 5, found '|'"),
            (
                (0...TagExpression.maxTags).map { "t\($0)" }.joined(separator: "||"),
                "at most 256 tags: one more at column 1427"
            ),
        ] as [(String, String)]
    )
    func tagErrors(text: String, description: String) {
        let error = #expect(throws: SelectorError.self) { try TagExpression(text) }
        #expect(error?.description == description)
    }

    @Test("wants all of its parts to hold, and one that is not there holds")
    func parts() throws {
        var message = FilteredMessage(["amount": "12"])
        message.tag = "paid"
        func matches(_ name: String, _ tags: String, _ selector: String) throws -> Bool? {
            let filter = try MessageFilter(name: name, tags: tags, selector: selector)
            return message.withRecord { filter.matches(record: $0, name: $1, batch: $2) }
        }
        #expect(try matches("", "", "") == true)
        #expect(try matches("orders/#", "", "") == true)
        #expect(try matches("orders/+/x", "", "") == false)
        #expect(try matches("", "paid || open", "") == true)
        #expect(try matches("", "open", "") == false)
        #expect(try matches("", "*", "amount > 10") == true)
        #expect(try matches("", "", "amount > 20") == false)
        #expect(try matches("orders/eu", "paid", "amount > 10 AND _name LIKE 'orders/%'") == true)
        #expect(try matches("orders/us", "paid", "amount > 10") == false)
        #expect(try matches("orders/eu", "paid", "amount < 10") == false)
    }

    @Test("says what it needs")
    func needs() throws {
        #expect(try MessageFilter(name: "", tags: "*", selector: "").isEmpty)
        #expect(try !MessageFilter(name: "", tags: "a").isEmpty)
        #expect(try MessageFilter(name: "a/#").needsName)
        #expect(try MessageFilter(name: "", selector: "_name = 'a'").needsName)
        #expect(try !MessageFilter(name: "", tags: "a", selector: "name = 'a'").needsName)
    }

    @Test("refuses each part that is not valid, with a message for a person")
    func refusals() {
        let error = #expect(throws: SluiceError.self) { try MessageFilter(name: "", selector: "a >") }
        #expect(error?.code == .invalidArgument)
        #expect(error?.message == "the filter is not valid: expected a value after '>' at column 4, found end")
        #expect(throws: SluiceError.self) { try MessageFilter(name: "", tags: "a|b") }
        #expect(throws: SluiceError.self) { try MessageFilter(name: "a/#/b") }
    }
}
