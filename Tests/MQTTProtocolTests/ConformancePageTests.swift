import Foundation
import Testing

/// docs/mqtt-conformance.md names a test for each normative statement: the test must be there, and so must the statement.
@Suite("docs/mqtt-conformance.md")
struct ConformancePageTests {
    private static let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    private func page() throws -> String {
        let url = Self.repository.appending(path: "docs/mqtt-conformance.md")
        return try String(contentsOf: url, encoding: .utf8)
    }

    private func sources(_ folder: String, _ ending: String) throws -> String {
        let root = Self.repository.appending(path: folder)
        let files = try #require(FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil))
        var text = ""
        for case let file as URL in files where file.pathExtension == ending {
            text += try String(contentsOf: file, encoding: .utf8)
        }
        return text
    }

    @Test("every test that the page names exists")
    func testsExist() throws {
        let rows = try page().split(separator: "\n").filter { $0.hasPrefix("| ") && $0.contains("[MQTT-") }
        let swift = try sources("Tests", "swift")
        let python = try sources("Tests/BlackBox", "py")
        #expect(rows.count > 200)
        for row in rows {
            let cell = row.split(separator: "|").last.map(String.init) ?? ""
            let functions = cell.matches(of: /`(test_\w+)`/).map { String($0.output.1) }
            let names = cell.matches(of: /“([^”]+)”/).map { String($0.output.1) }
            #expect(!functions.isEmpty || !names.isEmpty, "no test: \(row)")
            for function in functions { #expect(python.contains("def \(function)("), "\(function)") }
            for name in names { #expect(swift.contains("\"\(name)\""), "\(name)") }
        }
    }

    /// The sections of the specifications with the numbers of their statements.
    private static let statements5 =
        "1.5.4:1-3 1.5.5:1-1 2.1.3:1-1 2.2.1:2-6 2.2.2:1-1 3.1.0:1-2 3.1.2:1-30 3.1.3:1-12 3.1.4:1-6 3.2.0:1-2 3.2.2:1-22 "
        + "3.3.1:1-13 3.3.2:1-20 3.3.4:1-10 3.4.2:1-3 3.5.2:1-3 3.6.1:1-1 3.6.2:1-3 3.7.2:1-3 3.8.1:1-1 3.8.3:1-5 "
        + "3.8.4:1-8 3.9.2:1-2 3.9.3:1-2 3.10.1:1-1 3.10.3:1-2 3.10.4:1-6 3.11.2:1-2 3.11.3:1-2 3.12.4:1-1 3.14.0:1-1 "
        + "3.14.1:1-1 3.14.2:1-4 3.14.4:1-3 3.15.1:1-1 3.15.2:1-3 4.1.0:1-2 4.2.0:1-1 4.3.1:1-1 4.3.2:1-5 4.3.3:1-13 "
        + "4.4.0:1-2 4.5.0:1-2 4.6.0:1-6 4.7.0:1-1 4.7.1:1-2 4.7.2:1-1 4.7.3:1-4 4.8.2:1-6 4.9.0:1-3 4.12.0:1-7 "
        + "4.12.1:1-2 4.13.1:1-1 4.13.2:1-1 6.0.0:1-4"
    private static let statements311 =
        "1.5.3:1-3 2.2.2:1-2 2.3.1:1-7 3.1.0:1-2 3.1.2:1-24 3.1.3:1-11 3.1.4:1-5 3.2.0:1-1 3.2.2:1-6 3.3.1:1-12 3.3.2:1-3 "
        + "3.3.4:1-1 3.3.5:1-2 3.6.1:1-1 3.8.1:1-1 3.8.3:1-4 3.8.4:1-6 3.9.3:1-2 3.10.1:1-1 3.10.3:1-2 3.10.4:1-6 "
        + "3.12.4:1-1 3.14.1:1-1 3.14.4:1-3 4.1.0:1-2 4.3.1:1-1 4.3.2:1-2 4.3.3:1-2 4.4.0:1-1 4.5.0:1-2 4.6.0:1-6 "
        + "4.7.1:1-3 4.7.2:1-1 4.7.3:1-4 4.8.0:1-2 6.0.0:1-4 7.0.0:1-2 7.1.1:1-1 7.1.2:1-1"

    private func identifiers(_ ranges: String) -> [String] {
        ranges.split(separator: " ").flatMap { part in
            let pieces = part.split(whereSeparator: { ":-".contains($0) })
            let numbers = (Int(pieces[1]) ?? 0)...(Int(pieces[2]) ?? 0)
            return numbers.map { "[MQTT-\(pieces[0])-\($0)]" }
        }
    }

    @Test("every statement of both specifications is on the page", arguments: [("5.0", 0), ("3.1.1", 1)])
    func complete(version: String, column: Int) throws {
        var text = ""
        for line in try page().split(separator: "\n") {
            if line.hasPrefix("| ") {
                let cells = line.split(separator: "|", omittingEmptySubsequences: false)
                text += cells.count > column + 1 ? cells[column + 1] : ""
            } else if line.contains(", \(version):") || line.hasPrefix("- \(version):") {
                text += line
            }
        }
        for identifier in identifiers(column == 0 ? Self.statements5 : Self.statements311) {
            #expect(text.contains(identifier), "\(identifier)")
        }
    }
}
