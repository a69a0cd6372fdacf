internal import CSluiceShims

/// CRC32C, the checksum of batches and log records.
package enum Checksum {
    /// The checksum of `bytes`, continuing from the checksum of what stands before them.
    package static func crc32c(_ bytes: UnsafeRawBufferPointer, continuing crc: UInt32 = 0) -> UInt32 {
        guard let start = bytes.baseAddress else { return crc }
        return sluice_crc32c(crc, start, bytes.count)
    }
}
