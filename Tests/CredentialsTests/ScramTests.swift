import Testing

@testable import Credentials

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// The client's side, as far as tests need it.
private struct Client {
    var user = "user"
    var password = "pencil"
    var header = "n,,"
    var nonce = "rOprNGfwEbeRWgbNEkqO"

    var bare: String { "n=\(user),r=\(nonce)" }
    var first: String { header + bare }

    /// - Parameter change: applied to the message without its proof, before it is signed.
    func final(_ challenge: String, change: (String) -> String = { $0 }) throws -> String {
        let parts = challenge.split(separator: ",")
        let salt = try #require(Base64.decode(parts[1].dropFirst(2).utf8))
        let iterations = try #require(Int(parts[2].dropFirst(2)))
        let salted = try #require(Digest.pbkdf2(bytes(password), salt: salt, iterations: iterations))
        let clientKey = try #require(Digest.hmac(key: salted, bytes("Client Key")))
        let withoutProof = change("c=\(Base64.encode(bytes(header))),\(parts[0])")
        let signed = bytes("\(bare),\(challenge),\(withoutProof)")
        let signature = try #require(Digest.hmac(key: Digest.sha256(clientKey), signed))
        return "\(withoutProof),p=\(Base64.encode(zip(clientKey, signature).map { $0 ^ $1 }))"
    }
}

@Suite struct ScramTests {
    private let serverNonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    private let salt = Base64.decode("W22ZaJ0SNY7soEsUEjb6gQ==".utf8) ?? []

    private var server: ScramServer { ScramServer(nonce: serverNonce, secret: [1, 2, 3]) }

    private func find(_ user: String) -> ScramCredential? {
        ["user", "a,b=c"].contains(user) ? ScramCredential(password: "pencil", salt: salt) : nil
    }

    private func text(_ step: ScramServer.Step) throws -> String {
        switch step {
        case .challenge(let message), .accepted(_, let message): String(decoding: message, as: UTF8.self)
        case .refused: "refused"
        }
    }

    @Test("the exchange of RFC 7677 §3")
    func vector() throws {
        var server = server
        let first = server.received(bytes("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), credential: find)
        let challenge = "r=rOprNGfwEbeRWgbNEkqO\(serverNonce),s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        #expect(first == .challenge(bytes(challenge)))
        let final = "c=biws,r=rOprNGfwEbeRWgbNEkqO\(serverNonce),p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        #expect(try Client().final(challenge) == final)
        let last = server.received(bytes(final), credential: find)
        #expect(last == .accepted(user: "user", message: bytes("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")))
        // Nothing comes behind it.
        #expect(server.received(bytes(final), credential: find) == .refused)
    }

    @Test("PBKDF2 of RFC 7914 §11")
    func derivation() {
        let key = Digest.pbkdf2(bytes("passwd"), salt: bytes("salt"), iterations: 1)
        #expect(key?.prefix(8) == [0x55, 0xAC, 0x04, 0x6E, 0x56, 0xE3, 0x08, 0x9F])
    }

    @Test("HMAC of RFC 4231, test case 2, and SHA-256 of nothing")
    func digests() {
        #expect(
            Digest.hmac(key: bytes("Jefe"), bytes("what do ya want for nothing?"))?.prefix(4) == [
                0x5B, 0xDC, 0xC1, 0x46,
            ]
        )
        #expect(Digest.hmac(key: [], [])?.prefix(4) == [0xB6, 0x13, 0x67, 0x9A])
        #expect(Digest.sha256([]).prefix(4) == [0xE3, 0xB0, 0xC4, 0x42])
    }

    @Test("who has the password gets in, with and without a header for others", arguments: ["n,,", "y,,", "n,a=user,"])
    func accepted(header: String) throws {
        var server = server
        let client = Client(header: header)
        let challenge = try text(server.received(bytes(client.first), credential: find))
        guard case .accepted("user", _) = server.received(bytes(try client.final(challenge)), credential: find) else {
            Issue.record("refused")
            return
        }
    }

    @Test("names with a comma and an equals sign")
    func names() throws {
        var server = server
        let client = Client(user: "a=2Cb=3Dc")
        let challenge = try text(server.received(bytes(client.first), credential: find))
        guard case .accepted("a,b=c", _) = server.received(bytes(try client.final(challenge)), credential: find) else {
            Issue.record("refused")
            return
        }
    }

    @Test("a wrong password and a user who is not there look the same until the end")
    func refused() throws {
        for client in [Client(password: "pen"), Client(user: "nobody")] {
            var server = server
            var again = self.server
            let challenge = try text(server.received(bytes(client.first), credential: find))
            #expect(try text(again.received(bytes(client.first), credential: find)) == challenge)
            #expect(challenge.hasSuffix(",i=4096"))
            #expect(server.received(bytes(try client.final(challenge)), credential: find) == .refused)
        }
    }

    @Test(
        "a first message that is not one is refused",
        arguments: [
            "", "n", "n,,", "n,,n=user", "n,,n=,r=abc", "n,,n=user,r=", "p=tls-unique,,n=user,r=abc",
            "n,a=other,n=user,r=abc", "n,,m=x,n=user,r=abc", "n,,n=us=er,r=abc", "n,,n=user,r=a\u{7F}",
            "n,,r=abc,n=user",
            "x,,n=user,r=abc",
        ]
    )
    func badFirst(message: String) {
        var server = server
        #expect(server.received(bytes(message), credential: find) == .refused)
        #expect(server.received(bytes("n,,n=user,r=abc"), credential: find) == .refused)
    }

    @Test("a final message that says something else than was agreed upon is refused, also where it is signed")
    func badFinal() throws {
        let changes: [(String) -> String] = [
            { $0.replacing("c=biws", with: "c=eSws") }, { $0 + "x" }, { $0.replacing("r=", with: "r=0") },
            { String($0.dropFirst(2)) },
        ]
        for change in changes {
            var server = server
            let challenge = try text(server.received(bytes(Client().first), credential: find))
            let final = try Client().final(challenge, change: change)
            #expect(server.received(bytes(final), credential: find) == .refused)
        }
        var server = server
        let challenge = try text(server.received(bytes(Client().first), credential: find))
        let final = try Client().final(challenge)
        let cut = String(final.prefix { $0 != "p" }) + "p=AAAA"
        #expect(server.received(bytes(cut), credential: find) == .refused)
    }

    @Test("what is kept of a password is written and read")
    func credentialText() throws {
        let credential = try #require(ScramCredential(password: "pencil", salt: salt))
        #expect(credential.text.hasPrefix("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"))
        #expect(ScramCredential(text: credential.text) == credential)
        for wrong in ["", "SCRAM-SHA-256", credential.text + "x", credential.text.replacing("4096", with: "1")] {
            #expect(ScramCredential(text: wrong) == nil)
        }
    }

    @Test("Base64 of RFC 4648 §10, and what it is not")
    func base64() {
        for (plain, text) in [
            ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy"),
        ] {
            #expect(Base64.encode(bytes(plain)) == text)
            #expect(Base64.decode(text.utf8) == bytes(plain))
        }
        for wrong in ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "Zg==Zg==", "Z===", "Zm9 ", "===="] {
            #expect(Base64.decode(wrong.utf8) == nil, "\(wrong)")
        }
    }
}
