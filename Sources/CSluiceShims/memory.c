#include "CSluiceShims.h"
#include <malloc.h>
#include <stdlib.h>

int sluice_release_free_memory(void) { return malloc_trim(0); }

void *sluice_allocate_zeroed(size_t size) { return calloc(size, 1); }

void sluice_free(void *memory) { free(memory); }
