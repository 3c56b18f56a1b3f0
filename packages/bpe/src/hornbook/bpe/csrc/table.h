/* Inside the core: a hash table whose keys are pretokens.
 *
 * A slot is 32 bytes. A pretoken of up to 15 bytes is its own key: its bytes, zeros, and its size in the last
 * byte. A longer one has 64 bits of hash and its size for a key, and its bytes lie elsewhere, to be compared by
 * the caller. Slots are tried one after the other from where the hash points (linear probing), but first the two that
 * share a line of the cache.
 *
 * The hash is multilinear: the two halves of the key times two secret odd numbers, each table's own, and of the
 * sum the highest bits. So nobody can prepare a text whose pretokens all meet in one place.
 */
#ifndef HORNBOOK_TABLE_H
#define HORNBOOK_TABLE_H

#include "bpe.h"

enum { HB_SHORT_BYTES = 15 };

#define HB_LONG_MARK (UINT64_C(0x40) << 56)  /* where a short one has its size */
#define HB_ASIDE_MARK (UINT64_C(0x80) << 56) /* added to it in a slot that doesn't hold all there is to know */

typedef struct {
    uint64_t low, high;
} hb_key;

typedef struct {
    hb_key key; /* high is 0 in an empty slot, and in no other; it may be marked: see hb_key_in */
    uint64_t value, extra;
} hb_slot;

typedef struct {
    hb_slot *slots;
    int64_t num_slots, num_used; /* a power of two, at least 2 */
    int shift;                   /* from 64 bits of hash to an index of a slot */
    uint64_t hash_key[2];
    uint32_t num_passed; /* pretokens not found in their first slot */
} hb_table;

/* 0, or HB_OUT_OF_MEMORY. */
int32_t hb_table_init(hb_table *table, int64_t num_slots, const uint64_t *hash_key);
void hb_table_free(hb_table *table);
/* Makes room for `num_more` keys. On HB_OUT_OF_MEMORY the table is as it was. */
int32_t hb_table_reserve(hb_table *table, int64_t num_more);

static inline uint64_t hb_load8(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, 8);
    return value;
}

/* The first bytes at `at`, at most 8, the rest zeros; reads no more than these. */
static inline uint64_t hb_load_part(const uint8_t *at, int64_t size) {
    uint64_t value = 0;
    if (size > 0) memcpy(&value, at, (size_t)(size < 8 ? size : 8));
    return value;
}

/* Of more than 8 bytes; the last 8 may overlap those before. */
static inline uint64_t hb_hash_long(const uint8_t *at, int64_t size, const uint64_t *hash_key) {
    const uint8_t *const last = at + size - 8;
    uint64_t hash = (uint64_t)size * hash_key[1];
    for (;; at = last - at > 8 ? at + 8 : last) {
        /* All 128 bits of the product: of 64 alone, the high bits of the text would reach nothing. */
        const unsigned __int128 product = (unsigned __int128)(hash ^ hb_load8(at)) * hash_key[0];
        hash = (uint64_t)product ^ (uint64_t)(product >> 64);
        if (at == last) return hash;
    }
}

#define HB_ALL (~UINT64_C(0))
#define HB_FIRST(n) (HB_ALL >> (64 - 8 * (n)))
/* hb_size_masks[n]: the bytes of a key that a pretoken of n bytes fills. */
static const hb_key hb_size_masks[HB_SHORT_BYTES + 1] = {
    {0, 0},
    {HB_FIRST(1), 0},
    {HB_FIRST(2), 0},
    {HB_FIRST(3), 0},
    {HB_FIRST(4), 0},
    {HB_FIRST(5), 0},
    {HB_FIRST(6), 0},
    {HB_FIRST(7), 0},
    {HB_ALL, 0},
    {HB_ALL, HB_FIRST(1)},
    {HB_ALL, HB_FIRST(2)},
    {HB_ALL, HB_FIRST(3)},
    {HB_ALL, HB_FIRST(4)},
    {HB_ALL, HB_FIRST(5)},
    {HB_ALL, HB_FIRST(6)},
    {HB_ALL, HB_FIRST(7)},
};

/* The key of the pretoken at `at`. If `readable` is at least 16 bytes away, two loads serve for any size. */
static inline hb_key hb_key_of(const uint8_t *at, int64_t size, const uint8_t *readable, const uint64_t *hash_key) {
    if (size > HB_SHORT_BYTES) return (hb_key){hb_hash_long(at, size, hash_key), HB_LONG_MARK | (uint64_t)size};
    const uint64_t size_byte = (uint64_t)size << 56;
    if (readable - at < 16)
        return (hb_key){hb_load_part(at, size), (size > 8 ? hb_load_part(at + 8, size - 8) : 0) | size_byte};
    const hb_key mask = hb_size_masks[size];
    return (hb_key){hb_load8(at) & mask.low, (hb_load8(at + 8) & mask.high) | size_byte};
}

static inline int hb_is_long(hb_key key) { return key.high >= HB_LONG_MARK; }

static inline int64_t hb_key_size(hb_key key) {
    return (int64_t)(hb_is_long(key) ? key.high & ~HB_LONG_MARK : key.high >> 56);
}

/* The key of a used slot. What stands in the slot differs from every key if it is marked: so nothing but to compare
 * keys tells whether a slot has what is looked for, and has it all. */
static inline hb_key hb_key_in(const hb_slot *slot) {
    return (hb_key){slot->key.low, slot->key.high & ~HB_ASIDE_MARK};
}

static inline int hb_is_aside(const hb_slot *slot) { return slot->key.high >= HB_ASIDE_MARK; }
static inline hb_key hb_aside(hb_key key) { return (hb_key){key.low, key.high | HB_ASIDE_MARK}; }

static inline uint64_t hb_slot_index(hb_key key, const uint64_t *hash_key, int shift) {
    return (key.low * hash_key[0] + key.high * hash_key[1]) >> shift;
}

static inline hb_slot *hb_first_slot(const hb_table *table, hb_key key) {
    return table->slots + hb_slot_index(key, table->hash_key, table->shift);
}

/* Where to look after `slot` for what is looked for in `first` at first: in the slot beside that, which the processor
 * has read with it, and then from there on. */
static inline hb_slot *hb_next_slot(const hb_table *table, hb_slot *first, hb_slot *slot) {
    const int64_t index = first - table->slots, at = slot - table->slots;
    if (at == index) return table->slots + (index ^ 1);
    const int64_t next = (at == (index ^ 1) ? index | 1 : at) + 1;
    return table->slots + (next & (table->num_slots - 1));
}

/* Swaps the pretoken in `slot` with the one where it is looked for first, now and then: so frequent ones come
 * to stand where they are found at once. Every slot that is tried between is used, so both are still found. */
static inline void hb_move_forward(hb_table *table, hb_slot *first, hb_slot *slot) {
    if (++table->num_passed % 8) return;
    const hb_slot other = *first;
    *first = *slot;
    *slot = other;
}

static inline int hb_same_key(hb_key a, hb_key b) { return a.low == b.low && a.high == b.high; }

#endif
