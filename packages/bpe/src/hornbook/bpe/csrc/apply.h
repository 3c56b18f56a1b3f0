/* Inside the core: merges applied to one pretoken. */
#ifndef HORNBOOK_APPLY_H
#define HORNBOOK_APPLY_H

#include "bpe.h"

#define HB_NO_RANK INT32_MAX

enum {
    HB_ID_BITS = 21,   /* of a token; Python refuses larger vocabularies */
    HB_RANK_BITS = 22, /* of a merge; Python refuses more than 2^22 - 2 of them */
};

#define HB_NO_MERGE ((UINT64_C(1) << HB_RANK_BITS) - 1) /* the rank of no merge, because there are fewer */
#define HB_EMPTY (~UINT64_C(0))

struct hb_merges {
    uint64_t *slots;           /* left << 43 | right << 22 | rank, where hb_pair_slot says */
    uint64_t multipliers[2];   /* for the two hashes of a pair */
    int shift;                 /* from 64 bits of hash to the index of a slot */
    int64_t num_merges;
    int is_ordered;            /* no merge makes a token that an earlier one uses: true of all learned merges */
    int32_t *products;         /* by rank */
    int32_t byte_ids[256];     /* -1: not in the vocabulary */
    int32_t byte_ranks[65536]; /* of two bytes that follow each other: most look-ups, and without any search */
};

static inline uint64_t hb_pair(int32_t left, int32_t right) { return (uint64_t)left << HB_ID_BITS | (uint64_t)right; }

/* The index of one of the two slots where a pair may stand (Pagh and Rodler 2001: cuckoo hashing). */
static inline uint64_t hb_pair_slot(const hb_merges *merges, uint64_t pair, int side) {
    return pair * merges->multipliers[side] >> merges->shift;
}

/* Rank of the merge of two tokens, HB_NO_RANK if there is none. Without a branch that depends on the text: the slot that
 * differs from the key in its rank alone is the one whose difference is less. */
static inline int32_t hb_rank_of(const hb_merges *merges, int32_t left, int32_t right) {
    const uint64_t pair = hb_pair(left, right), key = pair << HB_RANK_BITS;
    const uint64_t one = merges->slots[hb_pair_slot(merges, pair, 0)] ^ key;
    const uint64_t other = merges->slots[hb_pair_slot(merges, pair, 1)] ^ key;
    const uint64_t least = one < other ? one : other;
    return least < HB_NO_MERGE ? (int32_t)least : HB_NO_RANK;
}

#define HB_MISSING_BYTE (-2) /* and less: -2 - b says that byte b is not in the vocabulary */

/* HB_MISSING_BYTE - b for the first byte b that has no id; there must be one. */
int64_t hb_missing_byte(const hb_merges *merges, const uint8_t *bytes);

enum {
    HB_SHORT_SIZE = 62, /* places of a short pretoken, with two borders, are the bits of a word */
    HB_PIECES = 8,      /* short pretokens at once */
};

/* A short pretoken. */
typedef struct {
    const uint8_t *bytes;
    int32_t size;
    int32_t num_ids;                /* or HB_MISSING_BYTE - b */
    int32_t ids[HB_SHORT_SIZE + 2]; /* the result */
    uint32_t keys[HB_SHORT_SIZE + 3];
    uint64_t starts;
} hb_piece;

/* apply_short.c: fills in the ids of up to HB_PIECES pretokens of 1 to HB_SHORT_SIZE bytes; `simd` as in machine.h. */
void hb_apply_short(const hb_merges *merges, hb_piece *pieces, int num_pieces, int simd);

/* Memory for one long pretoken, used again for the next. */
typedef struct {
    int32_t *ids; /* the result; room for `size` */
    int64_t size;
    struct hb_queue *queue;
} hb_scratch;

void hb_scratch_free(hb_scratch *scratch);

/* apply_long.c: puts the ids of a pretoken of any size into scratch->ids; returns how many, HB_OUT_OF_MEMORY, or
 * HB_MISSING_BYTE - b. */
int64_t hb_apply_long(const hb_merges *merges, hb_scratch *scratch, const uint8_t *bytes, int64_t size);

#endif
