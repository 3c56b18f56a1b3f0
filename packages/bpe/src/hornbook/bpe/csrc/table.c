/* Memory of the hash table: see table.h. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* madvise */
#endif
#include "table.h"

#include <stdlib.h>

#ifdef __linux__
#include <sys/mman.h>
#endif

enum { FEW_SLOTS = 1 << 17, MANY_SLOTS = 1 << 20 };

#ifdef __linux__
/* Big tables are read at random: with pages of 2 MB the processor finds them without walking its page tables. */
enum { PAGE_BYTES = 1 << 21, BIG_BYTES = 1 << 20 };

static size_t whole_pages(size_t num_bytes) { return (num_bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES; }

/* Zeros that begin where a page can; NULL: out of memory. */
static void *new_pages(size_t num_bytes) {
    const size_t size = whole_pages(num_bytes);
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
#endif

static hb_slot *new_slots(int64_t num_slots) {
    const size_t num_bytes = sizeof(hb_slot) * (size_t)num_slots;
#ifdef __linux__
    if (num_bytes >= BIG_BYTES) return new_pages(num_bytes);
#endif
    return calloc(1, num_bytes);
}

static void free_slots(hb_slot *slots, int64_t num_slots) {
#ifdef __linux__
    const size_t num_bytes = sizeof(hb_slot) * (size_t)num_slots;
    if (num_bytes >= BIG_BYTES) {
        munmap(slots, whole_pages(num_bytes));
        return;
    }
#else
    (void)num_slots;
#endif
    free(slots);
}

int32_t hb_table_init(hb_table *table, int64_t num_slots, const uint64_t *hash_key) {
    table->slots = new_slots(num_slots);
    if (!table->slots) return HB_OUT_OF_MEMORY;
    table->num_slots = num_slots;
    table->num_used = 0;
    table->num_passed = 0;
    table->shift = 64 - __builtin_ctzll((uint64_t)num_slots);
    for (int i = 0; i < 2; i++) table->hash_key[i] = hash_key[i] | 1; /* odd: no bit of the key is lost */
    return 0;
}

void hb_table_free(hb_table *table) {
    if (table->slots) free_slots(table->slots, table->num_slots);
    table->slots = NULL;
}

/* Moves everything into a table of `num_slots`. */
static int32_t resize(hb_table *table, int64_t num_slots) {
    hb_table grown;
    if (hb_table_init(&grown, num_slots, table->hash_key)) return HB_OUT_OF_MEMORY;
    for (int64_t i = 0; i < table->num_slots; i++) {
        const hb_slot *old = &table->slots[i];
        if (!old->key.high) continue;
        hb_slot *slot = hb_first_slot(&grown, old->key);
        while (slot->key.high) slot = hb_next_slot(&grown, slot);
        *slot = *old;
    }
    grown.num_used = table->num_used;
    hb_table_free(table);
    *table = grown;
    return 0;
}

/* At most half the slots are used while the table is small, so that most look-ups end at the first one; three
 * quarters when its memory begins to matter. */
int32_t hb_table_reserve(hb_table *table, int64_t num_more) {
    const int64_t num_slots = table->num_slots;
    const int64_t most = num_slots < MANY_SLOTS ? num_slots / 2 : num_slots / 4 * 3;
    if (table->num_used + num_more <= most) return 0;
    return resize(table, num_slots < FEW_SLOTS ? 4 * num_slots : 2 * num_slots);
}
