#include "CSluiceShims.h"
#include <malloc.h>
#include <string.h>

int sluice_release_free_memory(void) { return malloc_trim(0); }

int sluice_is_zero(const void *bytes, size_t length) {
    const char *start = bytes;
    return start[0] == 0 && memcmp(start, start + 1, length - 1) == 0;
}
