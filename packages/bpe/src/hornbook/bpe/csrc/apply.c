/* The merges of a tokenizer as a table of pairs. To apply them to a pretoken is, again and again, to join of all
 * neighbours that have a merge those of the earliest, the leftmost first (Sennrich et al. 2016): see apply_short.c for
 * most pretokens, and apply_long.c.
 */
#include "apply.h"

#include <stdlib.h>

enum {
    MOST_MOVES = 500, /* of pairs in the table, to make room for one */
    MOST_TABLES = 8,  /* that are tried: few sets of merges need a second one */
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

/* Puts a pair into one of its two slots; what stands there moves to its other one, and so on. Returns whether all have
 * a place. */
static int put(hb_merges *merges, uint64_t pair, int64_t rank) {
    uint64_t item = pair << HB_RANK_BITS | (uint64_t)rank, at = hb_pair_slot(merges, pair, 0);
    for (int num_moves = 0; num_moves < MOST_MOVES; num_moves++) {
        const uint64_t moved = merges->slots[at];
        merges->slots[at] = item;
        if (moved == HB_EMPTY) return 1;
        item = moved;
        const uint64_t first = hb_pair_slot(merges, item >> HB_RANK_BITS, 0);
        at = at == first ? hb_pair_slot(merges, item >> HB_RANK_BITS, 1) : first;
    }
    return 0;
}

/* Makes the table of all merges: at most two fifths of the slots are used, because with half of them some sets of pairs
 * find no places. Those that find none get twice as many slots and other hashes. */
static int32_t fill(hb_merges *merges, const int32_t *pairs, const uint64_t *hash_key) {
    int num_bits = 7;
    while (merges->num_merges * 5 > INT64_C(2) << num_bits) num_bits++;
    uint64_t multipliers[2] = {hash_key[0] | 1, hash_key[1] | 1};
    for (int num_tables = 0; num_tables < MOST_TABLES; num_tables++, num_bits++) {
        const size_t num_bytes = sizeof(uint64_t) << num_bits;
        free(merges->slots);
        merges->slots = malloc(num_bytes);
        if (!merges->slots) return HB_OUT_OF_MEMORY;
        memset(merges->slots, 0xFF, num_bytes);
        merges->shift = 64 - num_bits;
        for (int side = 0; side < 2; side++) merges->multipliers[side] = multipliers[side] *= UINT64_C(0x9E3779B97F4A7C15);
        int64_t rank = 0;
        while (rank < merges->num_merges && put(merges, hb_pair(pairs[2 * rank], pairs[2 * rank + 1]), rank)) rank++;
        if (rank == merges->num_merges) return 0;
    }
    return HB_OUT_OF_MEMORY;
}

/* Pairs of ids and the id of each product, by rank; no pair twice. NULL: out of memory. */
hb_merges *hb_merges_new(const int32_t *byte_ids, const int32_t *pairs, const int32_t *products,
                         int64_t num_merges, const uint64_t *hash_key) {
    hb_merges *merges = calloc(1, sizeof *merges);
    if (!merges) return NULL;
    merges->num_merges = num_merges;
    merges->products = malloc(sizeof(int32_t) * (size_t)(num_merges + 1));
    merges->is_ordered = are_ordered(pairs, products, num_merges);
    if (!merges->products || merges->is_ordered < 0 || fill(merges, pairs, hash_key)) {
        hb_merges_free(merges);
        return NULL;
    }
    memcpy(merges->byte_ids, byte_ids, sizeof merges->byte_ids);
    if (num_merges) memcpy(merges->products, products, sizeof(int32_t) * (size_t)num_merges);
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

int64_t hb_missing_byte(const hb_merges *merges, const uint8_t *bytes) {
    while (merges->byte_ids[*bytes] >= 0) bytes++;
    return HB_MISSING_BYTE - *bytes;
}
