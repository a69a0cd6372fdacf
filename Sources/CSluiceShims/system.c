#define _GNU_SOURCE
#include "CSluiceShims.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

int sluice_reserve_blocks(int file, int64_t length) { return fallocate(file, 0, 0, (off_t)length); }

int sluice_open_direct(const char *path) { return open(path, O_WRONLY | O_DIRECT | O_CLOEXEC); }

void sluice_name_this_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

void *sluice_allocate_zeros(size_t length) { return calloc(length, 1); }

void sluice_free(void *memory) { free(memory); }
