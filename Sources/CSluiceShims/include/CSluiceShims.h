/// System facilities that Swift cannot express: the CRC32C instruction, and a few calls that
/// Glibc's module hides behind macros or variadic arguments.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// CRC32C (Castagnoli, reflected, initial and final value all ones) of `length` bytes, continuing from `crc`.
/// Start with 0. Uses SSE4.2 with three interleaved streams, or the ARMv8 CRC instructions, where the processor has
/// them; a table otherwise.
uint32_t sluice_crc32c(uint32_t crc, const void *bytes, size_t length);

/// The table version of the above, for tests that compare the two.
uint32_t sluice_crc32c_portable(uint32_t crc, const void *bytes, size_t length);

/// Returns freed heap memory to the system (glibc `malloc_trim`); 1 if any was returned.
int sluice_release_free_memory(void);
