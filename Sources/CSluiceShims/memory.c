#include "CSluiceShims.h"
#include <malloc.h>

int sluice_release_free_memory(void) { return malloc_trim(0); }
