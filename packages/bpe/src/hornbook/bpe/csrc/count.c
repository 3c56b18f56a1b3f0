/* Counts pretokens.
 *
 * A batch at a time: the scanner finds pretokens, their keys are made and the slots sent for, then each is
 * counted; so that waiting for memory overlaps with work. A slot's value is the count; a long pretoken's bytes
 * are copied, and `extra` points to them.
 */
#include <stdlib.h>

#include "count.h"
#include "machine.h"
#include "special.h"

/* Bytes of long pretokens, each with its size before it, in chunks that never move. */
typedef struct hb_chunk {
    struct hb_chunk *before;
    int64_t num_used, num_bytes;
    uint8_t bytes[];
} chunk;

enum { FIRST_SLOTS = 1 << 14, CHUNK_BYTES = 1 << 18 };

/* Counts pretokens from number i on, as long as each is found at once, as nearly all are; returns the number of the
 * first that is not, or num_pretokens. */
static int64_t count_found(const hb_wanted *wanted, int64_t i, int64_t num_pretokens) {
    for (; i < num_pretokens && hb_same_key(wanted->slots[i]->key, wanted->keys[i]); i++) wanted->slots[i]->value++;
    return i;
}

#ifdef HB_X86
HB_FOR_AVX512 static int64_t count_found_avx512(const hb_wanted *wanted, int64_t i, int64_t num_pretokens) {
    for (; i + 4 <= num_pretokens && !hb_four_missed(wanted, i); i += 4)
        for (int n = 0; n < 4; n++) wanted->slots[i + n]->value++;
    _mm256_zeroupper(); /* what follows is compiled without AVX, and slow while the registers are in use */
    return count_found(wanted, i, num_pretokens);
}
#endif

/* NULL: out of memory, or the machine can't execute that form. */
hb_counter *hb_counter_new(const uint64_t *hash_key, int32_t simd) {
    const int chosen = hb_choose(simd);
    if (chosen < 0) return NULL;
    hb_counter *counter = calloc(1, sizeof *counter);
    if (!counter) return NULL;
    if (hb_table_init(&counter->table, FIRST_SLOTS, hash_key)) {
        free(counter);
        return NULL;
    }
    counter->scan = hb_find_scanner(chosen);
    counter->count_found = count_found;
#ifdef HB_X86
    if (chosen == HB_AVX512) counter->count_found = count_found_avx512;
#endif
    counter->want = hb_find_wanter(chosen);
    counter->validate = hb_find_validator(chosen);
    return counter;
}

void hb_counter_free(hb_counter *counter) {
    if (!counter) return;
    for (chunk *next; counter->chunks; counter->chunks = next) {
        next = counter->chunks->before;
        free(counter->chunks);
    }
    hb_table_free(&counter->table);
    free(counter);
}

static uint8_t *keep_bytes(hb_counter *counter, const uint8_t *bytes, int64_t size) {
    chunk *last = counter->chunks;
    const int64_t needed = (int64_t)sizeof size + size;
    if (!last || last->num_bytes - last->num_used < needed) {
        const int64_t num_bytes = needed > CHUNK_BYTES ? needed : CHUNK_BYTES;
        chunk *fresh = malloc(sizeof *fresh + (size_t)num_bytes);
        if (!fresh) return NULL;
        *fresh = (chunk){.before = last, .num_used = 0, .num_bytes = num_bytes};
        counter->chunks = last = fresh;
    }
    uint8_t *kept = last->bytes + last->num_used;
    memcpy(kept, &size, sizeof size);
    memcpy(kept + sizeof size, bytes, (size_t)size);
    last->num_used += needed;
    return kept + sizeof size;
}

/* Adds `count` occurrences of the pretoken at `at`, wherever it stands. */
static HB_NOINLINE int32_t add_any(hb_counter *counter, hb_key key, hb_slot *first, const uint8_t *at, int64_t count) {
    const int64_t size = hb_key_size(key);
    for (hb_slot *slot = first;; slot = hb_next_slot(&counter->table, first, slot)) {
        if (hb_same_key(hb_key_in(slot), key)) {
            if (hb_is_long(key) && memcmp(hb_long_bytes(slot), at, (size_t)size)) continue;
            slot->value += (uint64_t)count;
            if (slot != first) hb_move_forward(&counter->table, first, slot);
            return 0;
        }
        if (slot->key.high) continue;
        if (hb_is_long(key)) {
            const uint8_t *kept = keep_bytes(counter, at, size);
            if (!kept) return HB_OUT_OF_MEMORY;
            slot->extra = (uint64_t)(uintptr_t)kept;
        }
        slot->key = hb_is_long(key) ? hb_aside(key) : key;
        slot->value = (uint64_t)count;
        counter->table.num_used++;
        counter->num_bytes += size;
        return 0;
    }
}

/* Adds the pretokens between starts[0] and starts[num_pretokens]. */
static int32_t count_batch(hb_counter *counter, const uint8_t *const *starts, int64_t num_pretokens,
                           const uint8_t *readable) {
    hb_wanted wanted;
    if (hb_table_reserve(&counter->table, HB_BATCH_ROOM)) return HB_OUT_OF_MEMORY;
    counter->want(&counter->table, starts, num_pretokens, readable, &wanted);
    for (int64_t i = 0; (i = counter->count_found(&wanted, i, num_pretokens)) < num_pretokens; i++)
        if (add_any(counter, wanted.keys[i], wanted.slots[i], starts[i], 1)) return HB_OUT_OF_MEMORY;
    return 0;
}

/* The same, counts[i] times each. */
static int32_t add_batch(hb_counter *counter, const uint8_t *const *starts, int64_t num_pretokens,
                         const uint8_t *readable, const int64_t *counts) {
    hb_wanted wanted;
    if (hb_table_reserve(&counter->table, HB_BATCH_ROOM)) return HB_OUT_OF_MEMORY;
    counter->want(&counter->table, starts, num_pretokens, readable, &wanted);
    for (int64_t i = 0; i < num_pretokens; i++)
        if (add_any(counter, wanted.keys[i], wanted.slots[i], starts[i], counts[i])) return HB_OUT_OF_MEMORY;
    return 0;
}

int32_t hb_count_text(hb_counter *counter, const hb_specials *specials, const uint8_t *text, int64_t size) {
    const uint8_t *starts[HB_BATCH_ROOM];
    const uint8_t *at = text, *const end = text + size;
    if (counter->validate(at, end) < end) return HB_NOT_UTF8;
    while (at < end) {
        const hb_special special = hb_next_special(specials, at, end);
        while (at < special.start) {
            const int64_t num_found = counter->scan(at, special.start, end, starts);
            if (count_batch(counter, starts, num_found, end)) return HB_OUT_OF_MEMORY;
            at = starts[num_found];
        }
        at = special.end;
    }
    return 0;
}

/* Words one after another, each `counts[i]` times, or once where `counts` is NULL. */
int32_t hb_count_words(hb_counter *counter, const uint8_t *data, const int64_t *ends, const int64_t *counts,
                       int64_t num_words) {
    const uint8_t *starts[HB_BATCH + 1];
    const uint8_t *const readable = data + (num_words ? ends[num_words - 1] : 0);
    for (int64_t first = 0; first < num_words; first += HB_BATCH) {
        const int64_t num_found = hb_word_starts(data, ends, first, num_words, starts);
        if (counts ? add_batch(counter, starts, num_found, readable, counts + first)
                   : count_batch(counter, starts, num_found, readable))
            return HB_OUT_OF_MEMORY;
    }
    return 0;
}

void hb_counter_size(const hb_counter *counter, int64_t *num_words, int64_t *num_bytes) {
    *num_words = counter->table.num_used;
    *num_bytes = counter->num_bytes;
}

void hb_counter_words(const hb_counter *counter, uint8_t *data, int64_t *ends, int64_t *counts) {
    int64_t num_words = 0, end = 0;
    for (int64_t i = 0; i < counter->table.num_slots; i++) {
        const hb_slot *slot = &counter->table.slots[i];
        if (!slot->key.high) continue;
        const int64_t size = hb_key_size(hb_key_in(slot));
        uint8_t short_bytes[16];
        memcpy(short_bytes, &slot->key, 16);
        memcpy(data + end, hb_is_aside(slot) ? hb_long_bytes(slot) : short_bytes, (size_t)size);
        end += size;
        ends[num_words] = end;
        counts[num_words++] = (int64_t)slot->value;
    }
}
