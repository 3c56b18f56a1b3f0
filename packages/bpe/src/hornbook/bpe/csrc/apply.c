/* Applies merges to a pretoken: again and again, of all neighbours that have a merge, joins those of the earliest,
 * the leftmost first (Sennrich et al. 2016).
 *
 * Short pretokens are most of what there is: the ranks of all neighbours lie in an array, whose least is looked
 * for again and again. Long ones queue their places by rank, so that time is linear; only if the
 * merges are out of order, which no learned ones are, a heap holds each place.
 */
#include "apply.h"

#include <stdlib.h>

enum {
    SHORT_SIZE = 64,
    PLACE_BITS = 7, /* of a place in a short pretoken: rank and place share 31 bits */
};

/* Whether no merge makes a token that an earlier one uses; HB_OUT_OF_MEMORY. */
static int are_ordered(const int32_t *pairs, const int32_t *products, int64_t num_merges) {
    uint8_t *is_used = calloc(1, (size_t)1 << HB_ID_BITS >> 3);
    if (!is_used) return HB_OUT_OF_MEMORY;
    int is_ordered = 1;
    for (int64_t rank = 0; rank < num_merges && is_ordered; rank++) {
        for (int side = 0; side < 2; side++) {
            const int32_t id = pairs[2 * rank + side];
            is_used[id >> 3] |= (uint8_t)(1 << (id & 7));
        }
        is_ordered = !(is_used[products[rank] >> 3] >> (products[rank] & 7) & 1);
    }
    free(is_used);
    return is_ordered;
}

/* Pairs of ids and the id of each product, by rank; no pair twice. NULL: out of memory. */
hb_merges *hb_merges_new(const int32_t *byte_ids, const int32_t *pairs, const int32_t *products,
                         int64_t num_merges) {
    hb_merges *merges = calloc(1, sizeof *merges);
    if (!merges) return NULL;
    merges->num_merges = num_merges;
    merges->num_buckets = 64;
    while (2 * merges->num_buckets < (uint64_t)num_merges) merges->num_buckets *= 2;
    const size_t num_bytes = sizeof(uint64_t) * HB_BUCKET * merges->num_buckets;
    merges->slots = malloc(num_bytes);
    merges->products = malloc(sizeof(int32_t) * (size_t)(num_merges + 1));
    merges->is_ordered = are_ordered(pairs, products, num_merges);
    if (!merges->slots || !merges->products || merges->is_ordered < 0) {
        hb_merges_free(merges);
        return NULL;
    }
    memset(merges->slots, 0xFF, num_bytes);
    memcpy(merges->byte_ids, byte_ids, sizeof merges->byte_ids);
    if (num_merges) memcpy(merges->products, products, sizeof(int32_t) * (size_t)num_merges);
    for (int64_t rank = 0; rank < num_merges; rank++) {
        const uint64_t key = hb_pair_key(pairs[2 * rank], pairs[2 * rank + 1]);
        uint64_t at = HB_BUCKET * hb_first_bucket(merges, key);
        while (merges->slots[at] != HB_EMPTY) at = (at + 1) & (HB_BUCKET * merges->num_buckets - 1);
        merges->slots[at] = key | (uint64_t)rank;
    }
    for (int left = 0; left < 256; left++)
        for (int right = 0; right < 256; right++)
            merges->byte_ranks[left << 8 | right] = byte_ids[left] < 0 || byte_ids[right] < 0
                                                        ? HB_NO_RANK
                                                        : hb_rank_of(merges, byte_ids[left], byte_ids[right]);
    return merges;
}

void hb_merges_free(hb_merges *merges) {
    if (!merges) return;
    free(merges->slots);
    free(merges->products);
    free(merges);
}

/* HB_MISSING_BYTE - b for the first byte b that has no id. */
static HB_NOINLINE int64_t missing_byte(const hb_merges *merges, const uint8_t *bytes) {
    while (merges->byte_ids[*bytes] >= 0) bytes++;
    return HB_MISSING_BYTE - *bytes;
}

/* Places stay where they are; those of tokens that went into another are skipped by `after` and `before`. */
static int64_t apply_short(const hb_merges *merges, int32_t *ids, const uint8_t *bytes, int size) {
    int32_t keys[SHORT_SIZE + 8]; /* rank << PLACE_BITS | place of each pair, by its first place */
    uint8_t after[SHORT_SIZE + 1], before[SHORT_SIZE + 1];
    const int padded = (size + 1) & ~1;
    int32_t all = 0;
    for (int i = 0; i < size; i++) {
        all |= ids[i] = merges->byte_ids[bytes[i]];
        after[i] = (uint8_t)(i + 1);
        before[i] = (uint8_t)(i - 1);
    }
    if (all < 0) return missing_byte(merges, bytes);
    for (int i = 0; i < size - 1; i++) {
        const int32_t rank = merges->byte_ranks[bytes[i] << 8 | bytes[i + 1]];
        keys[i] = rank == HB_NO_RANK ? HB_NO_RANK : rank << PLACE_BITS | i;
    }
    for (int i = size - 1; i < padded; i++) keys[i] = HB_NO_RANK;

    int num_ids = size;
    for (;;) {
        /* One by one: as vectors they would be read while some of them were just written, which stalls. */
        int32_t least = HB_NO_RANK, other = HB_NO_RANK;
        for (int i = 0; i < padded; i += 2) {
            int32_t a = keys[i], b = keys[i + 1];
            __asm__("" : "+r"(a), "+r"(b));
            least = a < least ? a : least;
            other = b < other ? b : other;
        }
        least = least < other ? least : other;
        if (least == HB_NO_RANK) break;
        const int at = least & ((1 << PLACE_BITS) - 1), gone = after[at], next = after[gone];
        ids[at] = merges->products[least >> PLACE_BITS];
        keys[gone] = keys[at] = HB_NO_RANK;
        after[at] = (uint8_t)next;
        num_ids--;
        if (next < size) {
            before[next] = (uint8_t)at;
            const int32_t rank = hb_rank_of(merges, ids[at], ids[next]);
            if (rank != HB_NO_RANK) keys[at] = rank << PLACE_BITS | at;
        }
        if (at > 0) {
            const int previous = before[at];
            const int32_t rank = hb_rank_of(merges, ids[previous], ids[at]);
            keys[previous] = rank == HB_NO_RANK ? HB_NO_RANK : rank << PLACE_BITS | previous;
        }
    }
    for (int i = 0, at = 0; i < num_ids; i++, at = after[at]) ids[i] = ids[at];
    return num_ids;
}

void hb_scratch_free(hb_scratch *scratch) {
    free(scratch->ids);
    hb_queue_free(scratch->queue);
    *scratch = (hb_scratch){NULL, 0, NULL};
}

static int32_t reserve(hb_scratch *scratch, int64_t size) {
    if (size <= scratch->size) return 0;
    free(scratch->ids);
    scratch->size = 0;
    scratch->ids = malloc(sizeof(int32_t) * (size_t)size);
    if (!scratch->ids) return HB_OUT_OF_MEMORY;
    scratch->size = size;
    return 0;
}

int64_t hb_apply(const hb_merges *merges, hb_scratch *scratch, const uint8_t *bytes, int64_t size) {
    if (size > INT32_MAX - 1) return HB_OUT_OF_MEMORY; /* places are of 32 bits; it would take 60 GB */
    if (reserve(scratch, size < SHORT_SIZE ? SHORT_SIZE : size)) return HB_OUT_OF_MEMORY;
    if (size <= SHORT_SIZE) return apply_short(merges, scratch->ids, bytes, (int)size);
    for (int64_t i = 0; i < size; i++)
        if (merges->byte_ids[bytes[i]] < 0) return missing_byte(merges, bytes);
    const int64_t num_ids = hb_apply_long(merges, scratch, bytes, (int32_t)size);
    if (num_ids < 0) hb_scratch_free(scratch); /* what it left in the queue is nobody's */
    return num_ids;
}
