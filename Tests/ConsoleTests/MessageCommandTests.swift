import Testing

@Suite struct MessageCommandTests {
    @Test("what is produced is consumed, in order, under its name")
    func roundTrip() throws {
        let server = try RunningServer()
        let sent = try server.run("produce", "factory/line1/temp", "-m", "21.5", "-m", "-3")
        #expect(sent.status == 0)
        #expect(sent.output.isEmpty && sent.errors.isEmpty)
        let read = try server.run("consume", "factory/#", "--no-follow")
        #expect(read.output == "factory/line1/temp\t21.5\nfactory/line1/temp\t-3\n")
        #expect(try server.run("consume", "factory/+/other", "--no-follow").output.isEmpty)
        let one = try server.run("consume", "default", "--from", "1", "--count", "1", "--format", "%n %o=%b")
        #expect(one.output == "factory/line1/temp 1=-3")
    }

    @Test("every line of standard input is a message")
    func lines() throws {
        let server = try RunningServer()
        let sent = try server.run("produce", "a", "-v", input: "one\r\n\nthree")
        #expect(sent.output == "a\t0\t0\na\t0\t1\na\t0\t2\n")
        #expect(try server.run("consume", "a", "--no-follow", "--format", "[%b]").output == "[one][][three]")
    }

    @Test("key, tag, headers and content type come back")
    func fields() throws {
        let server = try RunningServer()
        let arguments = [
            "--key", "k", "--tag", "t", "--header", "a=1", "--header", "a=2=3", "--content-type", "text/plain",
        ]
        let sent = try server.start(["produce", "a", "-m", "x", "-o", "json"] + arguments).finish()
        #expect(sent.output == #"{"name":"a","partition":0,"offset":0}"# + "\n")
        let read = try server.run("consume", "a", "--no-follow", "-o", "json")
        #expect(read.output.contains(#""ordering_key":"k""#))
        #expect(read.output.contains(#""content_type":"text/plain","tag":"t","headers":{"a":["1","2=3"]}"#))
    }

    @Test("a subscription goes on behind what was printed, also after Ctrl-C")
    func subscription() throws {
        let server = try RunningServer()
        _ = try server.run("produce", "a", "-m", "1", "-m", "2", "-m", "3")
        let first = try server.run("consume", "a", "--subscription", "s", "--from", "first", "--count", "1")
        #expect(first.output == "a\t1\n")
        let second = try server.start(["consume", "a", "--subscription", "s", "--format", "%b"])
        var seen = ""
        while seen.count < 2 { seen += second.readSome() }
        second.interrupt()
        #expect(second.finish().status == 130)
        #expect(seen == "23")
        #expect(try server.run("consume", "a", "--subscription", "s", "--no-follow").output.isEmpty)
        #expect(try server.run("subscription", "show", "s").output.contains("lag\t0\n"))
        let again = try server.run("consume", "a", "--subscription", "s", "--from", "first", "--no-follow")
        #expect(again.errors.hasPrefix("note: subscription s exists"))
    }

    @Test("subscriptions are created, listed and deleted")
    func subscriptions() throws {
        let server = try RunningServer()
        _ = try server.run("produce", "a", "-m", "1")
        #expect(
            try server.run("sub", "create", "s", "default", "--from", "first", "-o", "json").output.contains("created")
        )
        #expect(try server.run("sub", "create", "s", "default", "-o", "json").output.contains("unchanged"))
        // AMQP has one of its own besides.
        #expect(
            try server.run("sub", "list").output.split(separator: "\n").contains {
                $0.hasPrefix("s\tdefault\t0\t1\t0\tfalse\t")
            }
        )
        #expect(try server.run("sub", "delete", "s").status == 64)
        #expect(try server.run("sub", "delete", "s", "--yes").status == 0)
        #expect(try server.run("sub", "show", "s").status == 4)
    }

    @Test("a reader by position under another's name takes its place, under another name it is refused")
    func takingOver() throws {
        let server = try RunningServer()
        _ = try server.run("produce", "a", "-m", "1")
        let arguments = ["consume", "a", "--subscription", "s", "--by-position", "--from", "first", "--format", "%b"]
        let first = try server.start(arguments + ["--consumer", "c"])
        #expect(first.readSome() == "1")
        #expect(try server.start(arguments + ["--consumer", "d"]).finish().status == 6)
        let second = try server.start(arguments + ["--consumer", "c", "--no-follow"])
        #expect(second.finish().status == 0)
        #expect(first.finish().status == 6)
    }

    @Test("bench prints its figures, and every message that it sent is there")
    func bench() throws {
        let server = try RunningServer()
        let sent = try server.run("bench", "produce", "b", "--count", "5000", "--batch", "100", "-o", "json")
        #expect(sent.output.hasPrefix(#"{"messages":5000,"#))
        let read = try server.run("bench", "consume", "b", "--count", "5000", "-o", "json")
        #expect(read.output.hasPrefix(#"{"messages":5000,"#))
    }

    @Test("what a server refuses is told by class")
    func refusals() throws {
        let server = try RunningServer()
        #expect(try server.run("produce", "a/#", "-m", "1").status == 1)
        #expect(try server.run("consume", "a/#/b").status == 1)
        #expect(try server.run("consume", "a", "--partition", "7").status == 4)
        #expect(try server.run("sub", "create", "s", "nowhere").status == 4)
        #expect(try server.run("consume", "a", "--server", "127.0.0.1:1").status == 7)
        #expect(try server.run("consume", "a", "--format", "%z").status == 64)
        #expect(try server.run("consume", "a", "--consumer", "c").status == 64)
        #expect(try server.run("produce", "a", "--file", "/nonexistent").status == 1)
    }
}
