/// What a server keeps of a password to check it with SCRAM-SHA-256 (RFC 5803): whoever has read it can neither sign in
/// with it nor find the password but by trying.
package struct ScramCredential: Sendable, Hashable {
    package var iterations: Int
    package var salt: [UInt8]
    package var storedKey: [UInt8]
    package var serverKey: [UInt8]

    /// RFC 7677 §4: at least so many.
    package static let leastIterations = 4_096
    /// More would let whoever signs in wait for longer than he would.
    package static let mostIterations = 10_000_000
    private static let mechanism = "SCRAM-SHA-256"

    private init(iterations: Int, salt: [UInt8], storedKey: [UInt8], serverKey: [UInt8]) {
        self.iterations = iterations
        self.salt = salt
        self.storedKey = storedKey
        self.serverKey = serverKey
    }

    /// Made from a password; takes long.
    package init?(password: String, salt: [UInt8], iterations: Int = 4_096) {
        guard let salted = Digest.pbkdf2(Array(password.utf8), salt: salt, iterations: iterations),
            let clientKey = Digest.hmac(key: salted, Array("Client Key".utf8)),
            let serverKey = Digest.hmac(key: salted, Array("Server Key".utf8))
        else { return nil }
        self.init(iterations: iterations, salt: salt, storedKey: Digest.sha256(clientKey), serverKey: serverKey)
    }

    /// For somebody who is not known: the same each time he tries, so that nobody learns who is.
    init(decoyFor user: String, secret: [UInt8]) {
        let salt = Digest.hmac(key: secret, Array("salt \(user)".utf8)) ?? Digest.sha256(secret)
        let key = Digest.hmac(key: secret, Array("key \(user)".utf8)) ?? Digest.sha256(secret)
        self.init(iterations: Self.leastIterations, salt: Array(salt.prefix(16)), storedKey: key, serverKey: key)
    }

    /// `SCRAM-SHA-256$4096:SALT$STOREDKEY:SERVERKEY`, all but the number in Base64: as PostgreSQL keeps it, too.
    package var text: String {
        "\(Self.mechanism)$\(iterations):\(Base64.encode(salt))$\(Base64.encode(storedKey)):\(Base64.encode(serverKey))"
    }

    /// Reads `text`.
    package init?(text: String) {
        let parts = text.split(separator: "$", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == Self.mechanism else { return nil }
        let first = parts[1].split(separator: ":", omittingEmptySubsequences: false)
        let second = parts[2].split(separator: ":", omittingEmptySubsequences: false)
        guard first.count == 2, second.count == 2, let iterations = Int(first[0]), first[0].first != "+",
            (Self.leastIterations...Self.mostIterations).contains(iterations),
            let salt = Base64.decode(first[1].utf8), !salt.isEmpty, salt.count <= 255,
            let storedKey = Base64.decode(second[0].utf8), storedKey.count == Digest.bytes,
            let serverKey = Base64.decode(second[1].utf8), serverKey.count == Digest.bytes
        else { return nil }
        self.init(iterations: iterations, salt: salt, storedKey: storedKey, serverKey: serverKey)
    }
}
