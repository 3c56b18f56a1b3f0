/* Memory of the hash table: see table.h. */
#include "table.h"

#include "pages.h"

enum { FEW_SLOTS = 1 << 17, MANY_SLOTS = 1 << 19 };

int32_t hb_table_init(hb_table *table, int64_t num_slots, const uint64_t *hash_key) {
    table->slots = hb_pages_new(sizeof(hb_slot) * (size_t)num_slots);
    if (!table->slots) return HB_OUT_OF_MEMORY;
    table->num_slots = num_slots;
    table->num_used = 0;
    table->num_passed = 0;
    table->shift = 64 - __builtin_ctzll((uint64_t)num_slots);
    for (int i = 0; i < 2; i++) table->hash_key[i] = hash_key[i] | 1; /* odd: no bit of the key is lost */
    return 0;
}

void hb_table_free(hb_table *table) {
    hb_pages_free(table->slots, sizeof(hb_slot) * (size_t)table->num_slots);
    table->slots = NULL;
}

/* Moves everything into a table of `num_slots`. */
static int32_t resize(hb_table *table, int64_t num_slots) {
    hb_table grown;
    if (hb_table_init(&grown, num_slots, table->hash_key)) return HB_OUT_OF_MEMORY;
    for (int64_t i = 0; i < table->num_slots; i++) {
        const hb_slot *old = &table->slots[i];
        if (!old->key.high) continue;
        hb_slot *const first = hb_first_slot(&grown, hb_key_in(old)), *slot = first;
        while (slot->key.high) slot = hb_next_slot(&grown, first, slot);
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
