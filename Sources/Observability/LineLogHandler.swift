package import Logging

/// Renders each event as one line and hands it on.
package struct LineLogHandler: LogHandler {
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?

    private let label: String
    private let format: LogLineFormat
    private let now: @Sendable () -> Timestamp
    private let write: @Sendable ([UInt8]) -> Void

    package init(
        label: String,
        level: Logger.Level,
        format: LogLineFormat,
        provider: Logger.MetadataProvider? = nil,
        now: @escaping @Sendable () -> Timestamp = Timestamp.now,
        write: @escaping @Sendable ([UInt8]) -> Void
    ) {
        self.label = label
        self.logLevel = level
        self.format = format
        self.metadataProvider = provider
        self.now = now
        self.write = write
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        // The closer to the message, the more it counts.
        var all = metadata
        if let provided = metadataProvider?.get() { all.merge(provided) { $1 } }
        if let own = event.metadata { all.merge(own) { $1 } }
        if let error = event.error { all["error"] = .string("\(error)") }

        var line = LogLine()
        switch format {
        case .json:
            line.appendJSON(at: now(), event.level, label, event.message.description, all)
        case .text(let colors):
            line.appendText(at: now(), event.level, label, event.message.description, all, colors: colors)
        }
        write(line.bytes)
    }
}
