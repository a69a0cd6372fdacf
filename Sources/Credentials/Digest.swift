internal import COpenSSL

/// SHA-256 and what is made of it.
package enum Digest {
    package static let bytes = 32

    package static func sha256(_ data: [UInt8]) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: bytes) { buffer, count in
            guard let out = buffer.baseAddress else { return }
            data.withUnsafeBufferPointer { _ = SHA256($0.baseAddress, $0.count, out) }
            count = bytes
        }
    }

    /// RFC 2104. Nil only where the system's library refuses its work.
    package static func hmac(key: [UInt8], _ data: [UInt8]) -> [UInt8]? {
        var result = [UInt8](repeating: 0, count: bytes)
        let isDone = key.withUnsafeBytes { key in
            data.withUnsafeBufferPointer { data in
                // An empty key still needs an address.
                withUnsafePointer(to: UInt8(0)) { nothing in
                    sluice_hmac_sha256(
                        key.baseAddress ?? UnsafeRawPointer(nothing),
                        Int32(clamping: key.count),
                        data.baseAddress,
                        data.count,
                        &result
                    )
                }
            }
        }
        return isDone == 1 ? result : nil
    }

    /// RFC 8018, with HMAC-SHA-256. Takes as long as there are iterations: never on an event loop.
    package static func pbkdf2(_ password: [UInt8], salt: [UInt8], iterations: Int) -> [UInt8]? {
        guard iterations > 0 else { return nil }
        var result = [UInt8](repeating: 0, count: bytes)
        let isDone = password.withUnsafeBytes { password in
            sluice_pbkdf2_sha256(
                password.baseAddress?.assumingMemoryBound(to: CChar.self),
                Int32(clamping: password.count),
                salt,
                Int32(clamping: salt.count),
                Int32(clamping: iterations),
                &result
            )
        }
        return isDone == 1 ? result : nil
    }

    /// Takes as long whatever is different.
    package static func areEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        guard left.count == right.count else { return false }
        return CRYPTO_memcmp(left, right, left.count) == 0
    }
}
