/* Inside the core: merges applied to one pretoken. */
#ifndef HORNBOOK_APPLY_H
#define HORNBOOK_APPLY_H

#include "bpe.h"

#define HB_NO_RANK INT32_MAX

enum {
    HB_ID_BITS = 21,   /* of a token; Python refuses larger vocabularies */
    HB_RANK_BITS = 22, /* of a merge; Python refuses more than 2^22 - 2 of them */
    HB_BUCKET = 4,     /* slots: 32 bytes, half a line of the cache */
};

#define HB_NO_MERGE ((UINT64_C(1) << HB_RANK_BITS) - 1) /* the rank of no merge, because there are fewer */
#define HB_EMPTY (~UINT64_C(0))

struct hb_merges {
    uint64_t *slots;           /* left << 43 | right << 22 | rank; buckets are filled from the left */
    uint64_t num_buckets;      /* a power of two */
    int64_t num_merges;
    int is_ordered;            /* no merge makes a token that an earlier one uses: true of all learned merges */
    int32_t *products;         /* by rank */
    int32_t byte_ids[256];     /* -1: not in the vocabulary */
    int32_t byte_ranks[65536]; /* of two bytes that follow each other: most look-ups, and without any search */
};

static inline uint64_t hb_pair_key(int32_t left, int32_t right) {
    return ((uint64_t)left << HB_ID_BITS | (uint64_t)right) << HB_RANK_BITS;
}

static inline uint64_t hb_first_bucket(const hb_merges *merges, uint64_t key) {
    return (key * UINT64_C(0x9E3779B97F4A7C15)) >> 40 & (merges->num_buckets - 1);
}

/* Rank of the merge of two tokens, HB_NO_RANK if there is none. Without a branch that depends on the text: of a
 * bucket, the slot that differs from the key in its rank alone is the one whose difference is least. */
static inline int32_t hb_rank_of(const hb_merges *merges, int32_t left, int32_t right) {
    const uint64_t key = hb_pair_key(left, right);
    for (uint64_t bucket = hb_first_bucket(merges, key);; bucket = (bucket + 1) & (merges->num_buckets - 1)) {
        const uint64_t *slots = merges->slots + HB_BUCKET * bucket;
        uint64_t least = slots[0] ^ key;
        for (int i = 1; i < HB_BUCKET; i++) least = (slots[i] ^ key) < least ? slots[i] ^ key : least;
        if (least >= HB_NO_MERGE && slots[HB_BUCKET - 1] != HB_EMPTY) continue; /* full: the next one may have it */
        return least < HB_NO_MERGE ? (int32_t)least : HB_NO_RANK;
    }
}

/* Memory for one pretoken, used again for the next. */
typedef struct {
    int32_t *ids; /* the result; room for `size` */
    int64_t size;
    struct hb_queue *queue; /* for long pretokens: see apply_long.c */
} hb_scratch;

void hb_scratch_free(hb_scratch *scratch);

#define HB_MISSING_BYTE (-2) /* and less: -2 - b says that byte b is not in the vocabulary */

/* Puts the ids of the pretoken at `bytes` into scratch->ids; returns how many, HB_OUT_OF_MEMORY, or
 * HB_MISSING_BYTE - b. */
int64_t hb_apply(const hb_merges *merges, hb_scratch *scratch, const uint8_t *bytes, int64_t size);

/* apply_long.c: the same for pretokens of any size whose bytes are all in the vocabulary, once scratch->ids has room for
 * `size`. Returns the number of ids or HB_OUT_OF_MEMORY. */
int64_t hb_apply_long(const hb_merges *merges, hb_scratch *scratch, const uint8_t *bytes, int32_t size);
void hb_queue_free(struct hb_queue *queue);

#endif
