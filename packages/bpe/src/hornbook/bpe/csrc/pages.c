/* Big memory in pages of 2 MB, where the system has them: so the processor finds an address without walking its page
 * tables, and the system makes 2 MB at a time. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* madvise */
#endif
#include "pages.h"

#include <stdlib.h>

#ifdef __linux__
#include <sys/mman.h>

enum { PAGE_BYTES = 1 << 21, BIG_BYTES = 1 << 20 };

static size_t whole_pages(size_t num_bytes) { return (num_bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES; }

void *hb_pages_new(size_t num_bytes) {
    if (num_bytes < BIG_BYTES) return calloc(1, num_bytes);
    const size_t size = whole_pages(num_bytes);
    /* A page more than needed, and then without what lies before the first whole one and after the last. */
    uint8_t *room = mmap(NULL, size + PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) return NULL;
    const size_t before = (PAGE_BYTES - (uintptr_t)room % PAGE_BYTES) % PAGE_BYTES;
    if (before) munmap(room, before);
    munmap(room + before + size, PAGE_BYTES - before);
#ifdef MADV_HUGEPAGE
    madvise(room + before, size, MADV_HUGEPAGE); /* a wish: without it all works, only slower */
#endif
    return room + before;
}

void hb_pages_free(void *memory, size_t num_bytes) {
    if (num_bytes < BIG_BYTES)
        free(memory);
    else if (memory)
        munmap(memory, whole_pages(num_bytes));
}
#else
void *hb_pages_new(size_t num_bytes) { return calloc(1, num_bytes); }

void hb_pages_free(void *memory, size_t num_bytes) {
    (void)num_bytes;
    free(memory);
}
#endif
