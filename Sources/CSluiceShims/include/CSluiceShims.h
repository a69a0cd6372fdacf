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

/// Makes a file `length` bytes long with its blocks reserved (Linux `fallocate`); -1 and errno where that fails.
int sluice_reserve_blocks(int file, int64_t length);

/// Opens an existing file for writing past the page cache (`O_DIRECT`); -1 and errno where that fails.
int sluice_open_direct(const char *path);

/// Names the calling thread, for debuggers and `top`; at most 15 bytes.
void sluice_name_this_thread(const char *name);

/// Memory of zeros that the system provides page by page as it is touched (`calloc`); null where there is none.
/// It is given back with `sluice_free`.
void *sluice_allocate_zeros(size_t length);
void sluice_free(void *memory);

/// Whether `length` bytes, at least one, are all zero: 1 or 0.
int sluice_is_zero(const void *bytes, size_t length);
