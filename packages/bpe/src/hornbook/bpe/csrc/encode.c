/* Encodes text: finds pretokens, and looks up the ids of each, or works them out and remembers them.
 *
 * Batches as in count.c. The last 16 bytes of a slot, value and extra, are up to 14 bytes of ids as they are written,
 * and in the very last byte their size. Where the ids need more, or the pretoken is long, the slot's key is marked as
 * aside: then the value is a place in a store, with the bytes of a long pretoken and after them the ids, and `extra`
 * is the size of these. When table or store is full, both start anew.
 */
#include <stdlib.h>

#include "apply.h"
#include "machine.h"
#include "special.h"
#include "utf8.h"
#include "want.h"

enum {
    FIRST_SLOTS = 1 << 13,
    INLINE_BYTES = 14,           /* of ids, in the slot itself */
    INLINE_SIZE_SHIFT = 56,      /* where `extra` has their size */
    COPIED_BYTES = 16,           /* at once: the ids and what else is in that half of the slot */
    MOST_KEPT_BYTES = 1 << 12,   /* longer pretokens are not worth remembering */
    STORE_BYTES_PER_ENTRY = 32,
};

struct hb_encoder {
    const hb_merges *merges;
    hb_table table;
    int64_t max_entries;
    uint8_t *store;
    int64_t store_used, store_size, store_limit;
    hb_scratch scratch;
    hb_scanner *scan;
    hb_wanter *want;
    /* Ids of a batch whose slots were sent for; returns their bytes, or an error. */
    int64_t (*encode)(hb_encoder *, const hb_wanted *, const uint8_t *const *, int64_t, uint8_t *);
    hb_validator *validate;
    int32_t store_is_full;
    int32_t id_bytes; /* 2 or 4 */
    int32_t simd;     /* which form of the core: see machine.h */
};

void hb_encoder_free(hb_encoder *encoder) {
    if (!encoder) return;
    hb_scratch_free(&encoder->scratch);
    hb_table_free(&encoder->table);
    free(encoder->store);
    free(encoder);
}

static void forget_all(hb_encoder *encoder) {
    memset(encoder->table.slots, 0, sizeof(hb_slot) * (size_t)encoder->table.num_slots);
    encoder->table.num_used = 0;
    encoder->store_is_full = 0;
}

/* Room for a batch more, by growing or by forgetting. */
static int32_t make_room(hb_encoder *encoder) {
    if (encoder->table.num_used + HB_BATCH_ROOM > encoder->max_entries || encoder->store_is_full) forget_all(encoder);
    return hb_table_reserve(&encoder->table, HB_BATCH_ROOM);
}

/* A place for `size` bytes in the store, or -1: then they are not remembered this time. */
static int64_t store_place(hb_encoder *encoder, int64_t size) {
    if (encoder->store_used + size > encoder->store_size) {
        int64_t grown = encoder->store_size ? 2 * encoder->store_size : 1 << 16;
        if (grown > encoder->store_limit) grown = encoder->store_limit;
        encoder->store_is_full = encoder->store_used + size > grown;
        if (encoder->store_is_full) return -1;
        uint8_t *store = realloc(encoder->store, (size_t)grown);
        if (!store) return -1;
        encoder->store = store;
        encoder->store_size = grown;
    }
    const int64_t place = encoder->store_used;
    encoder->store_used += size;
    return place;
}

static inline void write_ids(uint8_t *out, const int32_t *ids, int64_t num_ids, int id_bytes) {
    for (int64_t i = 0; i < num_ids; i++) {
        if (id_bytes == 2) {
            const uint16_t id = (uint16_t)ids[i];
            memcpy(out + 2 * i, &id, 2);
        } else {
            memcpy(out + 4 * i, &ids[i], 4);
        }
    }
}

/* The ids that a slot holds into `out`; returns their end. */
static inline uint8_t *copy_inline(const hb_slot *slot, uint8_t *out) {
    memcpy(out, (const uint8_t *)slot + sizeof slot->key, COPIED_BYTES);
    return out + (slot->extra >> INLINE_SIZE_SHIFT);
}

/* Of a pretoken, the bytes that are kept in the store. */
static inline int64_t kept_size(hb_key key) { return hb_is_long(key) ? hb_key_size(key) : 0; }

/* The slot of pretoken number i of a batch, or the empty one where it belongs. */
static inline hb_slot *find(const hb_encoder *encoder, const hb_wanted *wanted, const uint8_t *const *starts, int64_t i) {
    const hb_key key = wanted->keys[i];
    hb_slot *slot = wanted->slots[i];
    for (; slot->key.high; slot = hb_next_slot(&encoder->table, wanted->slots[i], slot))
        if (hb_same_key(hb_key_in(slot), key) &&
            (!hb_is_long(key) || !memcmp(encoder->store + slot->value, starts[i], (size_t)hb_key_size(key))))
            break; /* else it is another long one with the same hash */
    return slot;
}

/* Keeps the ids of a pretoken, `num_bytes` of them, in the empty slot where it belongs. */
static void remember(hb_encoder *encoder, hb_key key, hb_slot *slot, const uint8_t *bytes, const uint8_t *ids,
                     int64_t num_bytes) {
    const int64_t size = hb_key_size(key);
    if (size > MOST_KEPT_BYTES) return;
    hb_slot made = {key, 0, 0};
    if (num_bytes <= INLINE_BYTES && !hb_is_long(key)) {
        memcpy(&made.value, ids, (size_t)(num_bytes < 8 ? num_bytes : 8));
        if (num_bytes > 8) memcpy(&made.extra, ids + 8, (size_t)num_bytes - 8);
        made.extra |= (uint64_t)num_bytes << INLINE_SIZE_SHIFT;
    } else {
        const int64_t kept = kept_size(key);
        const int64_t place = store_place(encoder, kept + num_bytes);
        if (place < 0) return;
        memcpy(encoder->store + place, bytes, (size_t)kept);
        memcpy(encoder->store + place + kept, ids, (size_t)num_bytes);
        made = (hb_slot){hb_aside(key), (uint64_t)place, (uint64_t)num_bytes};
    }
    *slot = made;
    encoder->table.num_used++;
}

/* Encodes a pretoken, into `out`, and remembers it in `slot`. Returns the bytes of its ids, or an error. */
static int64_t encode_new(hb_encoder *encoder, hb_key key, hb_slot *slot, const uint8_t *bytes, uint8_t *out) {
    const int64_t size = hb_key_size(key);
    hb_piece piece = {.bytes = bytes, .size = (int32_t)size};
    const int32_t *ids = piece.ids;
    int64_t num_ids;
    if (size <= HB_SHORT_SIZE) {
        hb_apply_short(encoder->merges, &piece, 1, encoder->simd);
        num_ids = piece.num_ids;
    } else {
        num_ids = hb_apply_long(encoder->merges, &encoder->scratch, bytes, size);
        ids = encoder->scratch.ids;
    }
    if (num_ids < 0) return num_ids;
    write_ids(out, ids, num_ids, encoder->id_bytes);
    remember(encoder, key, slot, bytes, out, num_ids * encoder->id_bytes);
    return num_ids * encoder->id_bytes;
}

/* Encodes short pretokens that the table lacks, from number i of a batch on, as many as are encoded at once, and
 * remembers them. */
static void learn(hb_encoder *encoder, const hb_wanted *wanted, const uint8_t *const *starts, int64_t i,
                  int64_t num_pretokens) {
    hb_piece pieces[HB_PIECES];
    int64_t numbers[HB_PIECES];
    int num_pieces = 0;
    for (; i < num_pretokens && num_pieces < HB_PIECES; i++) {
        const int64_t size = starts[i + 1] - starts[i];
        if (size > HB_SHORT_SIZE || find(encoder, wanted, starts, i)->key.high) continue;
        pieces[num_pieces].bytes = starts[i];
        pieces[num_pieces].size = (int32_t)size;
        numbers[num_pieces++] = i;
    }
    hb_apply_short(encoder->merges, pieces, num_pieces, encoder->simd);
    for (int n = 0; n < num_pieces; n++) {
        hb_slot *const slot = find(encoder, wanted, starts, numbers[n]);
        if (slot->key.high || pieces[n].num_ids < 0) continue; /* it came twice; or it is for encode_new to complain */
        uint8_t ids[4 * HB_SHORT_SIZE];
        write_ids(ids, pieces[n].ids, pieces[n].num_ids, encoder->id_bytes);
        remember(encoder, wanted->keys[numbers[n]], slot, pieces[n].bytes, ids, pieces[n].num_ids * encoder->id_bytes);
    }
}

/* Ids of pretoken number i of a batch into `out`, whatever it takes. Returns their bytes, or an error. */
static HB_NOINLINE int64_t encode_any(hb_encoder *encoder, const hb_wanted *wanted, const uint8_t *const *starts,
                                      int64_t i, int64_t num_pretokens, uint8_t *out) {
    const hb_key key = wanted->keys[i];
    hb_slot *slot = find(encoder, wanted, starts, i);
    if (!slot->key.high) {
        learn(encoder, wanted, starts, i, num_pretokens);
        slot = find(encoder, wanted, starts, i);
        if (!slot->key.high) return encode_new(encoder, key, slot, starts[i], out);
    }
    if (hb_is_aside(slot)) {
        memcpy(out, encoder->store + slot->value + kept_size(key), (size_t)slot->extra);
        return (int64_t)slot->extra;
    }
    const int64_t num_bytes = copy_inline(slot, out) - out;
    if (slot != wanted->slots[i]) hb_move_forward(&encoder->table, wanted->slots[i], slot);
    return num_bytes;
}

/* Ids of the pretokens from number i of a batch on, up to number `end`; returns their bytes, or an error. */
static inline int64_t encode_some(hb_encoder *encoder, const hb_wanted *wanted, const uint8_t *const *starts, int64_t i,
                                  int64_t end, int64_t num_pretokens, uint8_t *out) {
    uint8_t *const first = out;
    for (; i < end; i++) {
        if (hb_same_key(wanted->slots[i]->key, wanted->keys[i])) { /* as nearly always */
            out = copy_inline(wanted->slots[i], out);
            continue;
        }
        const int64_t num_bytes = encode_any(encoder, wanted, starts, i, num_pretokens, out);
        if (num_bytes < 0) return num_bytes;
        out += num_bytes;
    }
    return out - first;
}

static int64_t encode_wanted(hb_encoder *encoder, const hb_wanted *wanted, const uint8_t *const *starts,
                             int64_t num_pretokens, uint8_t *out) {
    return encode_some(encoder, wanted, starts, 0, num_pretokens, num_pretokens, out);
}

#ifdef HB_X86
HB_FOR_AVX512 static int64_t encode_wanted_avx512(hb_encoder *encoder, const hb_wanted *wanted,
                                                  const uint8_t *const *starts, int64_t num_pretokens, uint8_t *out) {
    uint8_t *const first = out;
    for (int64_t i = 0;;) {
        for (; i + 4 <= num_pretokens && !hb_four_missed(wanted, i); i += 4)
            for (int n = 0; n < 4; n++) out = copy_inline(wanted->slots[i + n], out);
        _mm256_zeroupper(); /* what follows is compiled without AVX, and slow while the registers are in use */
        if (i == num_pretokens) return out - first;
        const int64_t end = i + 4 < num_pretokens ? i + 4 : num_pretokens;
        const int64_t num_bytes = encode_some(encoder, wanted, starts, i, end, num_pretokens, out);
        if (num_bytes < 0) return num_bytes;
        out += num_bytes;
        i = end;
    }
}
#endif

/* Ids of the pretokens between starts[0] and starts[num_pretokens]; returns their bytes, or an error. */
static int64_t encode_batch(hb_encoder *encoder, const uint8_t *const *starts, int64_t num_pretokens,
                            const uint8_t *readable, uint8_t *out) {
    hb_wanted wanted;
    encoder->want(&encoder->table, starts, num_pretokens, readable, &wanted);
    return encoder->encode(encoder, &wanted, starts, num_pretokens, out);
}

/* `merges` must live as long as the encoder. NULL: out of memory, or the machine can't execute that form. */
hb_encoder *hb_encoder_new(const hb_merges *merges, int32_t id_bytes, int64_t max_entries,
                           const uint64_t *hash_key, int32_t simd) {
    const int chosen = hb_choose(simd);
    if (chosen < 0) return NULL;
    hb_encoder *encoder = calloc(1, sizeof *encoder);
    if (!encoder) return NULL;
    if (hb_table_init(&encoder->table, FIRST_SLOTS, hash_key)) {
        free(encoder);
        return NULL;
    }
    encoder->merges = merges;
    encoder->simd = chosen;
    encoder->id_bytes = id_bytes;
    encoder->max_entries = max_entries > 2 * HB_BATCH_ROOM ? max_entries : 2 * HB_BATCH_ROOM;
    encoder->store_limit = STORE_BYTES_PER_ENTRY * encoder->max_entries + 8 * MOST_KEPT_BYTES;
    encoder->scan = hb_find_scanner(chosen);
    encoder->encode = encode_wanted;
#ifdef HB_X86
    if (chosen == HB_AVX512) encoder->encode = encode_wanted_avx512;
#endif
    encoder->want = hb_find_wanter(chosen);
    encoder->validate = hb_find_validator(chosen);
    return encoder;
}

/* `ids` must have room for `size` ids and 16 bytes. Returns how many there are; HB_OUT_OF_MEMORY;
 * HB_NOT_UTF8; HB_MISSING_BYTE - b if byte b is not in the vocabulary. */
int64_t hb_encode_text(hb_encoder *encoder, const hb_specials *specials, const int32_t *special_ids,
                       const uint8_t *text, int64_t size, void *ids) {
    const uint8_t *starts[HB_BATCH_ROOM];
    const uint8_t *at = text, *const end = text + size;
    uint8_t *out = ids;
    while (at < end) {
        const hb_special special = hb_next_special(specials, at, end);
        if (encoder->validate(at, special.start) < special.start) return HB_NOT_UTF8;
        while (at < special.start) {
            if (make_room(encoder)) return HB_OUT_OF_MEMORY;
            const int64_t num_found = encoder->scan(at, special.start, end, starts);
            const int64_t num_bytes = encode_batch(encoder, starts, num_found, end, out);
            if (num_bytes < 0) return num_bytes;
            out += num_bytes;
            hb_prefetch_text(at, starts[num_found], end);
            at = starts[num_found];
        }
        if (special.index >= 0) {
            write_ids(out, &special_ids[special.index], 1, encoder->id_bytes);
            out += encoder->id_bytes;
        }
        at = special.end;
    }
    return (out - (uint8_t *)ids) / encoder->id_bytes;
}

/* The same for pretokens found elsewhere, one after another in `data`. */
int64_t hb_encode_words(hb_encoder *encoder, const uint8_t *data, const int64_t *ends, int64_t num_words,
                        void *ids) {
    const uint8_t *starts[HB_BATCH + 1];
    const uint8_t *const readable = data + (num_words ? ends[num_words - 1] : 0);
    uint8_t *out = ids;
    for (int64_t first = 0; first < num_words; first += HB_BATCH) {
        if (make_room(encoder)) return HB_OUT_OF_MEMORY;
        const int64_t num_found = hb_word_starts(data, ends, first, num_words, starts);
        const int64_t num_bytes = encode_batch(encoder, starts, num_found, readable, out);
        if (num_bytes < 0) return num_bytes;
        out += num_bytes;
    }
    return (out - (uint8_t *)ids) / encoder->id_bytes;
}
