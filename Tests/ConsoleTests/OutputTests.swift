import Testing

@testable import AdminConsole

private let listing = Listing(
    columns: [.init("name"), .init("partitions", alignment: .right), .init("captures"), .init("created_at")],
    rows: [
        [.text("factory"), .integer(1), .list(["factory/#", "plant/#"]), .text("2026-11-21T14:05:33Z")],
        [.text("größe-漢字"), .integer(1200), .list([String]()), .none],
        [.text("a\tb\u{1B}[2J\"\n"), .integer(0), .list(["x"]), .none],
    ]
)

private let record = Record([
    .init("name", .text("factory")),
    .init(
        "partitions",
        .listing(
            Listing(
                columns: [
                    .init("index", title: "PARTITION", alignment: .right), .init("next_offset", alignment: .right),
                ],
                rows: [[.integer(0), .integer(12)], [.integer(1), .integer(7)]]
            )
        )
    ),
    .init("captures", .list(["factory/#"])),
    .init("created_at", .none),
    .init("ratio", .number(0.5)),
    .init("open", .boolean(true)),
])

@Suite struct OutputTests {
    @Test("a table is aligned under its headings, and nothing in it steers the terminal")
    func table() {
        #expect(
            OutputFormat.table.render(listing, isTerminal: true, styled: false) == #"""
                NAME              PARTITIONS  CAPTURES            CREATED AT
                factory                    1  factory/#, plant/#  2026-11-21T14:05:33Z
                größe-漢字              1200
                a\tb\u{1B}[2J"\n           0  x

                """#
        )
    }

    @Test("a table in a pipe is tab-separated, without headings")
    func tabSeparated() {
        #expect(
            OutputFormat.table.render(listing, isTerminal: false, styled: false)
                == "factory\t1\tfactory/#, plant/#\t2026-11-21T14:05:33Z\n"
                + "größe-漢字\t1200\t\t\n" + #"a\tb\u{1B}[2J"\n"# + "\t0\tx\t\n"
        )
    }

    @Test("JSON has every field, with its own type")
    func json() {
        #expect(
            OutputFormat.json.render(listing, isTerminal: true, styled: true)
                == #"[{"name":"factory","partitions":1,"captures":["factory/#","plant/#"],"created_at":"2026-11-21T14:05:33Z"},"#
                + #"{"name":"größe-漢字","partitions":1200,"captures":[],"created_at":null},"#
                + #"{"name":"a\tb\u001b[2J\"\n","partitions":0,"captures":["x"],"created_at":null}]"# + "\n"
        )
    }

    @Test("an empty listing is its headings, nothing, or an empty list")
    func empty() {
        let empty = Listing(columns: [.init("name")], rows: [])
        #expect(OutputFormat.table.render(empty, isTerminal: true, styled: false) == "NAME\n")
        #expect(OutputFormat.table.render(empty, isTerminal: false, styled: false) == "")
        #expect(OutputFormat.json.render(empty, isTerminal: false, styled: false) == "[]\n")
    }

    @Test("a record shows its fields, and its tables below them")
    func records() {
        #expect(
            OutputFormat.table.render(record, isTerminal: true, styled: false) == """
                name:        factory
                captures:    factory/#
                created at:
                ratio:       0.5
                open:        true

                PARTITION  NEXT OFFSET
                        0           12
                        1            7

                """
        )
        #expect(
            OutputFormat.table.render(record, isTerminal: false, styled: false)
                == "name\tfactory\npartitions\t0\t12\npartitions\t1\t7\ncaptures\tfactory/#\ncreated_at\t\nratio\t0.5\nopen\ttrue\n"
        )
        #expect(
            OutputFormat.json.render(record, isTerminal: false, styled: false)
                == #"{"name":"factory","partitions":[{"index":0,"next_offset":12},{"index":1,"next_offset":7}],"#
                + #""captures":["factory/#"],"created_at":null,"ratio":0.5,"open":true}"# + "\n"
        )
    }

    @Test("headings are emphasised only where asked for")
    func styled() {
        let one = Listing(columns: [.init("name")], rows: [[.text("a")]])
        #expect(OutputFormat.table.render(one, isTerminal: true, styled: true) == "\u{1B}[1mNAME\u{1B}[0m\na\n")
    }

    @Test("a failure says what, why and a hint, one line each")
    func failures() {
        let failure = CommandFailure(
            .notFound,
            "cannot show topic a\nb",
            why: "no such topic",
            hint: "sluice topic list"
        )
        #expect(failure.lines == "error: cannot show topic a\\nb\nwhy:   no such topic\nhint:  sluice topic list\n")
        #expect(CommandFailure(.failed, "no").lines == "error: no\n")
    }
}
