internal import MessageModel
internal import StorageService

extension Shard {
    var seal: ReceiptSeal { ReceiptSeal(hash: state.hash) }
}

/// Signs what receipts say with the secret of the store.
struct ReceiptSeal {
    let hash: KeyedHash
    /// Keeps signatures apart from everything else that is hashed with the secret.
    private static let domain: UInt64 = 0x7265_6365_6970_7473

    /// The signature of a lease.
    func sign(
        _ subscription: SubscriptionID,
        lane: UInt16,
        first: UInt64,
        last: UInt64,
        generation: UInt64
    ) -> UInt64 {
        let words = (UInt64(subscription.rawValue) << 16 | UInt64(lane), first, last, generation)
        return withUnsafeBytes(of: words) { hash.hash($0, domain: Self.domain).low }
    }

    /// Whether a receipt is one that was given out.
    func isGenuine(_ signed: SignedReceipt) -> Bool {
        let receipt = signed.receipt
        return signed.first <= receipt.sequence && receipt.sequence <= signed.last
            && sign(
                receipt.subscription,
                lane: receipt.lane,
                first: signed.first,
                last: signed.last,
                generation: receipt.generation
            ) == signed.signature
    }
}
