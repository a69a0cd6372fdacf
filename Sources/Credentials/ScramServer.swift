/// The server's side of one authentication with SCRAM-SHA-256 (RFC 5802, RFC 7677): the client's two messages in, the
/// server's two out. Without channel binding.
package struct ScramServer: Sendable {
    package static let mechanism = "SCRAM-SHA-256"
    /// The longest message that is looked at, in bytes.
    package static let longestMessage = 4_096

    package enum Step: Sendable, Equatable {
        /// To be sent; the client answers it.
        case challenge([UInt8])
        /// It is who it says; to be sent, so that the client knows that this server knows it too.
        case accepted(user: String, message: [UInt8])
        /// It is not, or it did not keep to the rules. Nothing more comes of it.
        case refused
    }

    private enum State {
        case initial
        case challenged(Challenge)
        case over
    }

    private struct Challenge {
        var user: String
        var credential: ScramCredential
        var isKnown: Bool
        var header: [UInt8]
        var nonce: [UInt8]
        /// The client's first message without its header, and the server's.
        var messages: [UInt8]
    }

    private var state = State.initial
    private let nonce: [UInt8]
    private let secret: [UInt8]

    /// - Parameters:
    ///   - nonce: random, of printable characters without a comma; never used twice.
    ///   - secret: of this server; what it answers for users that are not known follows from it.
    package init(nonce: String, secret: [UInt8]) {
        self.nonce = Array(nonce.utf8)
        self.secret = secret
    }

    /// Takes the client's next message.
    /// - Parameter credential: what is kept of a user; nil where there is none.
    package mutating func received(_ message: [UInt8], credential: (String) -> ScramCredential?) -> Step {
        let current = state
        state = .over
        guard message.count <= Self.longestMessage else { return .refused }
        switch current {
        case .initial:
            guard let challenge = challenge(message, credential) else { return .refused }
            state = .challenged(challenge)
            return .challenge(serverFirst(challenge))
        case .challenged(let challenge): return finish(challenge, message)
        case .over: return .refused
        }
    }

    private static let comma = UInt8(ascii: ",")

    private func serverFirst(_ challenge: Challenge) -> [UInt8] {
        Array("r=".utf8) + challenge.nonce
            + Array(",s=\(Base64.encode(challenge.credential.salt)),i=\(challenge.credential.iterations)".utf8)
    }

    /// `n,,n=user,r=nonce` (RFC 5802 §7).
    private func challenge(_ message: [UInt8], _ find: (String) -> ScramCredential?) -> Challenge? {
        let parts = message.split(separator: Self.comma, omittingEmptySubsequences: false)
        // `y`: the client could bind to the channel and believes that the server cannot, which is so.
        guard parts.count >= 4, parts[0] == [UInt8(ascii: "n")] || parts[0] == [UInt8(ascii: "y")],
            let user = Self.attribute("n", parts[2]).flatMap(Self.decodeName), !user.isEmpty,
            let clientNonce = Self.attribute("r", parts[3]), !clientNonce.isEmpty,
            clientNonce.allSatisfy({ (0x21...0x7E).contains($0) })
        else { return nil }
        // Nobody acts for somebody else.
        guard parts[1].isEmpty || Self.attribute("a", parts[1]).flatMap(Self.decodeName) == user else { return nil }
        let header = Array(message[..<parts[2].startIndex])
        let found = find(user)
        let nonce = Array(clientNonce) + self.nonce
        var challenge = Challenge(
            user: user,
            credential: found ?? ScramCredential(decoyFor: user, secret: secret),
            isKnown: found != nil,
            header: header,
            nonce: nonce,
            messages: []
        )
        challenge.messages = Array(message[parts[2].startIndex...]) + [Self.comma] + serverFirst(challenge)
        return challenge
    }

    /// `c=header,r=nonce,p=proof`
    private func finish(_ challenge: Challenge, _ message: [UInt8]) -> Step {
        let parts = message.split(separator: Self.comma, omittingEmptySubsequences: false)
        guard parts.count >= 3, let last = parts.last,
            let binding = Self.attribute("c", parts[0]).flatMap({ Base64.decode($0) }), binding == challenge.header,
            let nonce = Self.attribute("r", parts[1]), nonce.elementsEqual(challenge.nonce),
            let proof = Self.attribute("p", last).flatMap({ Base64.decode($0) }), proof.count == Digest.bytes
        else { return .refused }
        let withoutProof = message[..<(last.startIndex - 1)]
        let signed = challenge.messages + [Self.comma] + withoutProof
        guard let signature = Digest.hmac(key: challenge.credential.storedKey, signed),
            let verifier = Digest.hmac(key: challenge.credential.serverKey, signed)
        else { return .refused }
        let clientKey = zip(proof, signature).map { $0 ^ $1 }
        let isRight = Digest.areEqual(Digest.sha256(clientKey), challenge.credential.storedKey)
        guard isRight, challenge.isKnown else { return .refused }
        return .accepted(user: challenge.user, message: Array("v=\(Base64.encode(verifier))".utf8))
    }

    private static func attribute(_ name: Character, _ part: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        guard part.count >= 2, part.first == name.asciiValue, part[part.startIndex + 1] == UInt8(ascii: "=") else {
            return nil
        }
        return part.dropFirst(2)
    }

    /// In a name `,` is `=2C` and `=` is `=3D`, and nothing else is written with `=`.
    private static func decodeName(_ bytes: ArraySlice<UInt8>) -> String? {
        var result: [UInt8] = []
        var rest = bytes
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "=") else {
                result.append(byte)
                continue
            }
            if rest.starts(with: Array("2C".utf8)) {
                result.append(comma)
            } else if rest.starts(with: Array("3D".utf8)) {
                result.append(UInt8(ascii: "="))
            } else {
                return nil
            }
            rest = rest.dropFirst(2)
        }
        return String(validating: result, as: UTF8.self)
    }
}
