internal import Logging
internal import MessageModel
internal import OutboundHTTP
internal import StorageService
internal import Synchronization

/// Asks applications what became of their transactions, and does what they say.
///
/// Storage asks again and again until a transaction is ended, so nothing is tried twice here: a call that fails is
/// just no answer.
final class TransactionCallbacks: Sendable {
    /// What an application says.
    enum Outcome: String {
        case commit
        case rollback
        /// To be asked again later.
        case unknown
    }

    private let bridge: StorageBridge
    private let options: HTTPOptions
    private let logger: Logger
    /// Calls under way.
    private let asked = Mutex<Set<TransactionID>>([])

    init(bridge: StorageBridge, options: HTTPOptions, logger: Logger) {
        self.bridge = bridge
        self.options = options
        self.logger = logger
    }

    /// Calls the owner, and ends the transaction as it says. Returns at once.
    func ask(_ transaction: TransactionID, owner: String) {
        guard let url = CallbackURL(owner), url.isPermitted(by: options.callbackAddresses) else {
            logger.warning(
                "the owner of a transaction cannot be asked",
                metadata: ["transaction": "\(transaction.rawValue)", "why": "http.callbacks does not have its address"]
            )
            return
        }
        let begins = asked.withLock { $0.count < HTTPLimits.callbacks && $0.insert(transaction).inserted }
        guard begins else { return }
        Task {
            defer { asked.withLock { _ = $0.remove(transaction) } }
            do {
                let outcome = try await call(url, transaction)
                switch outcome {
                case .commit: _ = try await bridge.perform(.commitTransaction(transaction))
                case .rollback: _ = try await bridge.perform(.rollBackTransaction(transaction))
                case .unknown: break
                }
            } catch {
                logger.notice(
                    "asking about a transaction came to nothing",
                    metadata: ["transaction": "\(transaction.rawValue)", "error": "\(error)"]
                )
            }
        }
    }

    private struct NoAnswer: Error, CustomStringConvertible {
        var description: String
    }

    private func call(_ url: CallbackURL, _ transaction: TransactionID) async throws -> Outcome {
        var exchange = HTTPExchange(host: url.host, port: url.port)
        exchange.timeout = .milliseconds(options.callbackTimeoutMilliseconds)
        exchange.maxResponseSize = HTTPLimits.callbackAnswerBytes
        let question = "{\"transaction\":\"\(transaction.rawValue)\"}"
        let response = try await exchange.send(HTTPRequest(.post, target: url.target, body: question))
        guard response.status == 200 else { throw NoAnswer(description: "the status is \(response.status)") }
        let outcome = Self.outcome(response.body)
        guard let outcome else {
            throw NoAnswer(description: "the answer has no 'outcome' of the three that there are")
        }
        return outcome
    }

    /// The member `outcome` of a JSON object; other members are passed over.
    static func outcome(_ body: [UInt8]) -> Outcome? {
        body.withUnsafeBytes { bytes in
            var reader = JSONReader(bytes)
            var outcome: Outcome?
            do throws(JSONError) {
                try reader.readObject("the answer") { reader, name throws(JSONError) in
                    guard name == "outcome" else {
                        _ = try reader.skip()
                        return
                    }
                    outcome = Outcome(rawValue: try reader.readString("'outcome'"))
                }
                try reader.end()
            } catch {
                return nil
            }
            return outcome
        }
    }
}
