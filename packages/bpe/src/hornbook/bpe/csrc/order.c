/* What was counted, in ascending order of the pretokens: bytes are compared one by one, and of two pretokens of which
 * one is the beginning of the other, the shorter comes first.
 *
 * A counter's table becomes a sorted array in its own memory: its used slots move to the front, and their keys become
 * numbers that compare as the pretokens do. Those of up to 15 bytes are in the right order by their keys alone: the
 * bytes, zeros, and the size. Longer ones have their first 15 bytes and 255, and the rest is compared in the few cases
 * where these are equal. The counters are then read side by side, as in merge sort, equal pretokens at once.
 */
#include <stdbool.h>
#include <stdlib.h>

#include "count.h"

enum {
    KEY_BYTES = 16,
    LONG = 0xFF,    /* the last byte of a long one's key */
    FEW_SLOTS = 24, /* so many are sorted by insertion */
    SLOTS_AHEAD = 64, /* their long pretokens are sent for */
};

static hb_key ascending_key(const hb_slot *slot) {
    hb_key key = slot->key;
    if (hb_is_aside(slot)) {
        const uint8_t *bytes = hb_long_bytes(slot);
        key = (hb_key){hb_load8(bytes), hb_load8(bytes + 8) | (uint64_t)LONG << 56};
    }
    return (hb_key){__builtin_bswap64(key.low), __builtin_bswap64(key.high)};
}

static inline bool is_long(const hb_slot *slot) { return (slot->key.high & LONG) == LONG; }

static HB_NOINLINE int compare_long(const void *one, const void *other) {
    const hb_slot *a = one, *b = other;
    const int64_t size = hb_long_size(a), other_size = hb_long_size(b);
    const int order = memcmp(hb_long_bytes(a), hb_long_bytes(b), (size_t)(size < other_size ? size : other_size));
    return order ? order : (size > other_size) - (size < other_size);
}

/* Below, at or above zero: as memcmp. */
static inline int compare(const hb_slot *a, const hb_slot *b) {
    if (a->key.low != b->key.low) return a->key.low < b->key.low ? -1 : 1;
    if (a->key.high != b->key.high) return a->key.high < b->key.high ? -1 : 1;
    return is_long(a) ? compare_long(a, b) : 0;
}

static void sort_few(hb_slot *slots, int64_t num_slots) {
    for (int64_t i = 1; i < num_slots; i++) {
        const hb_slot slot = slots[i];
        int64_t at = i;
        for (; at > 0 && compare(&slot, &slots[at - 1]) < 0; at--) slots[at] = slots[at - 1];
        slots[at] = slot;
    }
}

static inline unsigned digit_of(const hb_slot *slot, int place) {
    return (unsigned)((place < 8 ? slot->key.low : slot->key.high) >> (56 - place % 8 * 8) & 0xFF);
}

/* Radix sort in place, from the byte at `place` on (McIlroy, Bostic and McIlroy 1993: "American flag"). */
static void sort(hb_slot *slots, int64_t num_slots, int place) {
    if (num_slots <= FEW_SLOTS) {
        sort_few(slots, num_slots);
        return;
    }
    if (place == KEY_BYTES) { /* long ones with the same first 15 bytes: rare */
        qsort(slots, (size_t)num_slots, sizeof *slots, compare_long);
        return;
    }
    int64_t next[256], ends[256] = {0};
    unsigned least = 255, most = 0; /* of a few, most digits are none's */
    for (int64_t i = 0; i < num_slots; i++) {
        const unsigned digit = digit_of(&slots[i], place);
        ends[digit]++;
        least = digit < least ? digit : least;
        most = digit > most ? digit : most;
    }
    int64_t end = 0;
    for (unsigned digit = least; digit <= most; digit++) {
        next[digit] = end;
        ends[digit] = end += ends[digit];
    }
    for (unsigned digit = least; digit <= most; digit++)
        while (next[digit] < ends[digit]) { /* what stands there takes another's place, until one comes that belongs */
            hb_slot moving = slots[next[digit]];
            for (unsigned own; (own = digit_of(&moving, place)) != digit;) {
                hb_slot *const place_of_own = &slots[next[own]++];
                const hb_slot other = *place_of_own;
                *place_of_own = moving;
                moving = other;
            }
            slots[next[digit]++] = moving;
        }
    int64_t begin = 0;
    for (unsigned digit = least; digit <= most; begin = ends[digit++])
        if (ends[digit] - begin > 1) sort(slots + begin, ends[digit] - begin, place + 1);
}

/* Puts what was counted in order. From now on nothing can be counted, and hb_counter_words must not be called. */
void hb_counter_sort(hb_counter *counter) {
    hb_slot *const slots = counter->table.slots;
    int64_t num_words = 0;
    for (int64_t i = 0; i < counter->table.num_slots; i++) {
        if (i + SLOTS_AHEAD < counter->table.num_slots && hb_is_aside(&slots[i + SLOTS_AHEAD]))
            __builtin_prefetch(hb_long_bytes(&slots[i + SLOTS_AHEAD]));
        if (!slots[i].key.high) continue;
        const hb_slot slot = slots[i];
        slots[num_words++] = (hb_slot){ascending_key(&slot), slot.value, slot.extra};
    }
    sort(slots, num_words, 0);
}

/* The first pretoken of all that were not taken; NULL: none is left. */
static const hb_slot *first_of(hb_counter *const *counters, int64_t num_counters) {
    const hb_slot *first = NULL;
    for (int64_t i = 0; i < num_counters; i++) {
        const hb_table *table = &counters[i]->table;
        if (counters[i]->num_taken == table->num_used) continue;
        const hb_slot *slot = &table->slots[counters[i]->num_taken];
        if (!first || compare(slot, first) < 0) first = slot;
    }
    return first;
}

/* Takes a pretoken out of all counters; returns how often they counted it. */
static int64_t take(hb_counter *const *counters, int64_t num_counters, const hb_slot *word) {
    int64_t count = 0;
    for (int64_t i = 0; i < num_counters; i++) {
        const hb_table *table = &counters[i]->table;
        if (counters[i]->num_taken == table->num_used) continue;
        const hb_slot *slot = &table->slots[counters[i]->num_taken];
        if (slot != word && compare(slot, word)) continue;
        count += (int64_t)slot->value;
        counters[i]->num_taken++;
    }
    return count;
}

/* Where words are written. */
typedef struct {
    uint8_t *data;
    int64_t *ends, *counts;
    int64_t num_words, end;
} words;

static inline void write_word(words *out, const hb_slot *word, int64_t count) {
    int64_t size = (int64_t)(word->key.high & LONG);
    if (is_long(word)) {
        size = hb_long_size(word);
        memcpy(out->data + out->end, hb_long_bytes(word), (size_t)size);
    } else {
        const hb_key key = {__builtin_bswap64(word->key.low), __builtin_bswap64(word->key.high)};
        memcpy(out->data + out->end, &key, KEY_BYTES);
    }
    out->ends[out->num_words] = out->end += size;
    out->counts[out->num_words++] = count;
}

/* What two counters have, as long as both have something left. Which one comes next is no branch: it would be guessed
 * wrong every other time. */
static void write_both(words *out, hb_counter *one, hb_counter *other) {
    const hb_slot *a = one->table.slots, *const last_a = a + one->table.num_used;
    const hb_slot *b = other->table.slots, *const last_b = b + other->table.num_used;
    words local = *out;
    while (a < last_a && b < last_b) {
        const unsigned __int128 key = (unsigned __int128)a->key.low << 64 | a->key.high;
        const unsigned __int128 other_key = (unsigned __int128)b->key.low << 64 | b->key.high;
        bool takes_a = key <= other_key, takes_b = key >= other_key;
        if (takes_a & takes_b & is_long(a)) {
            const int order = compare_long(a, b);
            takes_a = order <= 0;
            takes_b = order >= 0;
        }
        const uint64_t from_a = -(uint64_t)takes_a, from_b = -(uint64_t)takes_b; /* all bits or none */
        const uintptr_t word = ((uintptr_t)a & from_a) | ((uintptr_t)b & ~from_a);
        write_word(&local, (const hb_slot *)word, (int64_t)((a->value & from_a) + (b->value & from_b)));
        a += takes_a;
        b += takes_b;
    }
    *out = local;
    one->num_taken = a - one->table.slots;
    other->num_taken = b - other->table.slots;
}

/* Writes what sorted counters counted together, once; there must be room for what each of them has, and in `data` for
 * KEY_BYTES more, because short ones are copied as they lie in the key. Returns the number of words. */
int64_t hb_sorted_words(hb_counter *const *counters, int64_t num_counters, uint8_t *data, int64_t *ends,
                        int64_t *counts) {
    words out = {data, ends, counts, 0, 0};
    if (num_counters == 2) write_both(&out, counters[0], counters[1]);
    for (const hb_slot *word; (word = first_of(counters, num_counters));)
        write_word(&out, word, take(counters, num_counters, word));
    return out.num_words;
}

/* Number of the first word that is not greater than the one before it; `num_words` if each is. */
int64_t hb_ascending_words(const uint8_t *data, const int64_t *ends, int64_t num_words) {
    for (int64_t i = 1; i < num_words; i++) {
        const uint8_t *const before = data + (i > 1 ? ends[i - 2] : 0), *const word = data + ends[i - 1];
        const int64_t size_before = word - before, size = data + ends[i] - word;
        const int order = memcmp(before, word, (size_t)(size < size_before ? size : size_before));
        if (order > 0 || (order == 0 && size_before >= size)) return i;
    }
    return num_words;
}
