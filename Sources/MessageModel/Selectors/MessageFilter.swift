/// What a reader wants of a topic: all three parts must hold, and one that is not there holds always.
package struct MessageFilter: Equatable, Sendable {
    /// A filter with MQTT's wildcards over full names; empty for all names.
    package var name: [UInt8]
    /// Nil for all tags and none.
    package var tags: TagExpression?
    package var selector: Selector?

    package init(name: [UInt8] = [], tags: TagExpression? = nil, selector: Selector? = nil) {
        self.name = name
        self.tags = tags
        self.selector = selector
    }

    /// Reads and checks the parts as a caller writes them; an empty one is one that is not there.
    package init(name: String, tags: String = "", selector: String = "") throws(SluiceError) {
        self.name = Array(name.utf8)
        try Self.check(self.name)
        do throws(SelectorError) {
            let tags = tags.isEmpty ? nil : try TagExpression(tags)
            self.tags = tags?.isAll == true ? nil : tags
            self.selector = selector.isEmpty ? nil : try Selector(selector)
        } catch {
            throw error.asSluiceError
        }
    }

    private static func check(_ name: [UInt8]) throws(SluiceError) {
        guard !name.isEmpty else { return }
        let problem: SluiceError? = name.withUnsafeBytes { bytes in
            do throws(SluiceError) { try NameRules.checkFilter(bytes) } catch { return error }
            return nil
        }
        if let problem { throw problem }
    }

    /// Whether every message matches.
    package var isEmpty: Bool { name.isEmpty && tags == nil && selector == nil }

    /// Whether `matches` looks at the message's full name: where it does not, the caller need not make it.
    package var needsName: Bool { !name.isEmpty || selector?.needsName == true }

    /// Whether a message is wanted. Allocates nothing.
    /// - Parameters:
    ///   - record: of a batch that was verified.
    ///   - fullName: the message's full name; may be empty where `needsName` is false.
    ///   - batch: the batch that the record stands in, for the fields of a selector that are times.
    package func matches(record: RecordView, name fullName: UnsafeRawBufferPointer, batch: BatchView? = nil) -> Bool {
        if !name.isEmpty, !name.withUnsafeBytes({ NameFilter.matches($0, name: fullName) }) { return false }
        if let tags, !tags.matches(PropertyCursor.first(.tag, in: record.properties)) { return false }
        if let selector { return selector.matches(record: record, name: fullName, batch: batch) }
        return true
    }
}
