package import MessageModel

/// Which node a directory belongs to: the content of its `NODE` file, lines of `key: value`.
package struct NodeIdentity: Equatable, Sendable {
    /// What this program writes, and the newest that it understands.
    package static let currentFormat = 1

    /// The version of everything below the directory.
    package var format: Int
    /// 32 hexadecimal digits, chosen at random when the directory is made.
    package var id: String
    package var name: String
    package var created: Timestamp
    /// Chosen at random when the directory is made, and known to nobody else: the key of the hashes of message ids and
    /// keys that are stored below it.
    package var secret: Secret

    package struct Secret: Equatable, Sendable {
        package var key0: UInt64
        package var key1: UInt64

        static func random() -> Secret {
            Secret(key0: .random(in: .min ... .max), key1: .random(in: .min ... .max))
        }
    }

    package init(
        format: Int = currentFormat,
        id: String,
        name: String,
        created: Timestamp,
        secret: Secret
    ) {
        self.format = format
        self.id = id
        self.name = name
        self.created = created
        self.secret = secret
    }

    static func randomID() -> String {
        let (high, low) = (UInt64.random(in: .min ... .max), UInt64.random(in: .min ... .max))
        return hexadecimal(high) + hexadecimal(low)
    }

    private static func hexadecimal(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }
}

extension NodeIdentity {
    /// Why a `NODE` file is not understood.
    enum ReadingError: Error, Equatable {
        /// Of this format, which is newer than ours; nothing else of it was looked at.
        case newer(format: Int)
        case damaged(String)
    }

    var text: String {
        """
        format: \(format)
        id: \(id)
        name: \(name)
        created: \(created.rawValue)
        secret: \(Self.hexadecimal(secret.key0))\(Self.hexadecimal(secret.key1))

        """
    }

    /// Keys that are not known are passed over.
    /// - Parameter newSecret: for a file that has none, as older versions wrote it.
    init(text: String, newSecret: Secret) throws(ReadingError) {
        var values: [Substring: Substring] = [:]
        for line in text.split(separator: "\n") {
            guard let colon = line.firstIndex(of: ":") else { throw .damaged("a line without a colon") }
            values[line[..<colon]] = line[line.index(after: colon)...].drop { $0 == " " }
        }
        guard let format = values["format"].flatMap({ Int($0) }), format > 0 else { throw .damaged("no format") }
        guard format <= Self.currentFormat else { throw .newer(format: format) }
        guard let id = values["id"], id.utf8.count == 32, id.allSatisfy(\.isHexDigit) else { throw .damaged("no id") }
        guard let name = values["name"], !name.isEmpty else { throw .damaged("no name") }
        guard let created = values["created"].flatMap({ UInt64($0) }) else { throw .damaged("no time of creation") }
        var secret = newSecret
        if let digits = values["secret"] {
            guard digits.utf8.count == 32, let key0 = UInt64(digits.prefix(16), radix: 16),
                let key1 = UInt64(digits.suffix(16), radix: 16)
            else { throw .damaged("no secret") }
            secret = Secret(key0: key0, key1: key1)
        }
        self.init(
            format: format,
            id: String(id),
            name: String(name),
            created: Timestamp(rawValue: created),
            secret: secret
        )
    }
}
