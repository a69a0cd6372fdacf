internal import AMQPProtocol
internal import Credentials
internal import MessageModel
internal import NIOCore
internal import NIOPosix

/// Says who somebody is, by what the configuration knows of users.
final class Authenticator {
    private let users: [String: ScramCredential]
    private let eventLoop: any EventLoop
    /// What users that are not known are compared with follows from it.
    private let secret = (0..<32).map { _ in UInt8.random(in: .min ... .max) }
    /// Passwords that were right, as digests with the secret: who comes back is not made to wait.
    private var known: [[UInt8]: String] = [:]
    private static let knownUsers = 4_096
    /// In bytes: a token may stand in its place.
    private static let longestPassword = 16_384

    init(users: [String: ScramCredential], eventLoop: any EventLoop) {
        self.users = users
        self.eventLoop = eventLoop
    }

    /// Where nobody is configured everybody is who they say.
    var isOpen: Bool { users.isEmpty }

    /// - Parameter completion: called on the event loop, at once where nothing has to be computed: the user's name, or
    ///   nil for somebody who is not known.
    func check(user name: [UInt8], password: [UInt8], _ completion: @escaping (String?) -> Void) {
        guard let user = String(validating: name, as: UTF8.self), password.count <= Self.longestPassword else {
            return completion(nil)
        }
        guard !isOpen else { return completion(user) }
        let digest = Digest.sha256(secret + [UInt8(truncatingIfNeeded: name.count)] + name + [0] + password)
        if known[digest] == user { return completion(user) }
        let found = users[user]
        let expected = found ?? users.values.first
        guard let expected, let text = String(validating: password, as: UTF8.self) else { return completion(nil) }
        let bound = NIOLoopBound((self, completion), eventLoop: eventLoop)
        let isKnown = found != nil
        // It takes milliseconds: never on the event loop.
        NIOThreadPool.singleton.submit { [eventLoop] _ in
            let made = ScramCredential(password: text, salt: expected.salt, iterations: expected.iterations)
            let isRight = isKnown && made.map { Digest.areEqual($0.storedKey, expected.storedKey) } ?? false
            eventLoop.execute {
                let (authenticator, completion) = bound.value
                if isRight { authenticator.remember(digest, user) }
                completion(isRight ? user : nil)
            }
        }
    }

    private func remember(_ digest: [UInt8], _ user: String) {
        if known.count >= Self.knownUsers { known.removeAll() }
        known[digest] = user
    }
}
