#include "CSluiceShims.h"
#include <pthread.h>
#include <string.h>

// The reversed Castagnoli polynomial.
#define POLYNOMIAL 0x82F63B78u
// Bytes in each of the three interleaved streams: long enough to hide the three-cycle latency of the instruction,
// short enough that batches of a few hundred bytes profit as well.
#define LONG_STREAM 2048
#define SHORT_STREAM 128

static uint32_t byte_table[8][256];
// shift_table[k][n][b]: the effect on a CRC of appending LONG_STREAM (k = 0) or SHORT_STREAM (k = 1) zero bytes,
// for byte n of the CRC having the value b.
static uint32_t shift_table[2][4][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static uint32_t append_zero_bytes(uint32_t crc, size_t count) {
    while (count--) crc = (crc >> 8) ^ byte_table[0][crc & 0xFF];
    return crc;
}

static void make_tables(void) {
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t crc = n;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
        byte_table[0][n] = crc;
    }
    for (uint32_t n = 0; n < 256; n++)
        for (int k = 1; k < 8; k++)
            byte_table[k][n] = (byte_table[k - 1][n] >> 8) ^ byte_table[0][byte_table[k - 1][n] & 0xFF];
    // The shift is linear, so 32 single-bit shifts give every entry.
    static const size_t lengths[2] = {LONG_STREAM, SHORT_STREAM};
    for (int k = 0; k < 2; k++) {
        uint32_t of_bit[32];
        for (int bit = 0; bit < 32; bit++) of_bit[bit] = append_zero_bytes(1u << bit, lengths[k]);
        for (int n = 0; n < 4; n++)
            for (uint32_t value = 0; value < 256; value++) {
                uint32_t shifted = 0;
                for (int bit = 0; bit < 8; bit++)
                    if (value & (1u << bit)) shifted ^= of_bit[8 * n + bit];
                shift_table[k][n][value] = shifted;
            }
    }
}

static uint64_t load64(const uint8_t *bytes) {
    uint64_t value;
    memcpy(&value, bytes, 8);
    return value;
}

uint32_t sluice_crc32c_portable(uint32_t crc, const void *start, size_t length) {
    pthread_once(&tables_once, make_tables);
    const uint8_t *bytes = start;
    crc = ~crc;
    for (; length >= 8; bytes += 8, length -= 8) {
        uint64_t word = load64(bytes) ^ crc;
        crc = byte_table[7][word & 0xFF] ^ byte_table[6][(word >> 8) & 0xFF] ^ byte_table[5][(word >> 16) & 0xFF] ^
              byte_table[4][(word >> 24) & 0xFF] ^ byte_table[3][(word >> 32) & 0xFF] ^
              byte_table[2][(word >> 40) & 0xFF] ^ byte_table[1][(word >> 48) & 0xFF] ^ byte_table[0][word >> 56];
    }
    while (length--) crc = (crc >> 8) ^ byte_table[0][(crc ^ *bytes++) & 0xFF];
    return ~crc;
}

#if defined(__x86_64__) || defined(__aarch64__)

static uint32_t shift(int k, uint32_t crc) {
    return shift_table[k][0][crc & 0xFF] ^ shift_table[k][1][(crc >> 8) & 0xFF] ^
           shift_table[k][2][(crc >> 16) & 0xFF] ^ shift_table[k][3][crc >> 24];
}

#if defined(__x86_64__)
#include <nmmintrin.h>
#define CRC_TARGET __attribute__((target("sse4.2")))
#define CRC_WORD(crc, word) _mm_crc32_u64((crc), (word))
#define CRC_BYTE(crc, byte) _mm_crc32_u8((uint32_t)(crc), (byte))
static int has_instruction(void) { return __builtin_cpu_supports("sse4.2"); }
#else
#include <arm_acle.h>
#include <sys/auxv.h>
#include <asm/hwcap.h>
#define CRC_TARGET __attribute__((target("+crc")))
#define CRC_WORD(crc, word) __crc32cd((uint32_t)(crc), (word))
#define CRC_BYTE(crc, byte) __crc32cb((uint32_t)(crc), (byte))
static int has_instruction(void) { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }
#endif

CRC_TARGET static uint32_t crc32c_hardware(uint32_t initial, const uint8_t *bytes, size_t length) {
    uint64_t crc = ~initial & 0xFFFFFFFFu;
    static const size_t streams[2] = {LONG_STREAM, SHORT_STREAM};
    for (int k = 0; k < 2; k++) {
        const size_t stream = streams[k];
        while (length >= 3 * stream) {
            uint64_t second = 0, third = 0;
            for (size_t offset = 0; offset < stream; offset += 8) {
                crc = CRC_WORD(crc, load64(bytes + offset));
                second = CRC_WORD(second, load64(bytes + stream + offset));
                third = CRC_WORD(third, load64(bytes + 2 * stream + offset));
            }
            crc = shift(k, (uint32_t)crc) ^ second;
            crc = shift(k, (uint32_t)crc) ^ third;
            bytes += 3 * stream;
            length -= 3 * stream;
        }
    }
    for (; length >= 8; bytes += 8, length -= 8) crc = CRC_WORD(crc, load64(bytes));
    while (length--) crc = CRC_BYTE(crc, *bytes++);
    return ~(uint32_t)crc;
}

static int instruction_found;
static void choose(void) {
    make_tables();
    instruction_found = has_instruction();
}
static pthread_once_t choose_once = PTHREAD_ONCE_INIT;

uint32_t sluice_crc32c(uint32_t crc, const void *bytes, size_t length) {
    pthread_once(&choose_once, choose);
    return instruction_found ? crc32c_hardware(crc, bytes, length) : sluice_crc32c_portable(crc, bytes, length);
}

#else

uint32_t sluice_crc32c(uint32_t crc, const void *bytes, size_t length) {
    return sluice_crc32c_portable(crc, bytes, length);
}

#endif
