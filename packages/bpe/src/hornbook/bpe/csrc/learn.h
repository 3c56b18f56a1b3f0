/* Inside the core: what the files share that learn merges. learn.c says how it is done, learn_row.c where the words
 * lie, learn_index.c which pairs are known, learn_heap.c which comes next, learn_merge.c what a merge does.
 */
#ifndef HORNBOOK_LEARN_H
#define HORNBOOK_LEARN_H

#include "bpe.h"

#include <stdbool.h>
#include <stdlib.h>

enum {
    HB_NUM_BYTES = 256,
    HB_PREFIX_BYTES = 8, /* of a token, compared as one number */
    HB_NO_TOKEN = -1,    /* in empty cells */
    HB_BLOCK_SIZE = 64,  /* cells, a bit for each in one word of memory */
    HB_WALK_SIZE = 512,  /* occurrences; they stay in the nearest cache */
};

/* ---- pairs of tokens ---- */

/* Left id, right id. */
static inline uint64_t hb_pair_key(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static inline int32_t hb_left_of(uint64_t key) { return (int32_t)(key >> 32); }
static inline int32_t hb_right_of(uint64_t key) { return (int32_t)(key & UINT32_MAX); }

static inline uint64_t hb_pair_hash(uint64_t key) {
    key *= UINT64_C(0x9E3779B97F4A7C15);
    return (key ^ key >> 32) * UINT64_C(0xD6E8FEB86659FD93);
}

/* ---- learn_row.c: the words ---- */

/* A part of the row whose words occur equally often. */
typedef struct {
    int64_t count;
    uint32_t end; /* the cell after it */
} hb_stretch;

typedef struct {
    int32_t *cells;
    uint32_t num_cells;
    uint8_t *text;     /* what was in the cells at first */
    uint64_t *is_seam; /* by block, a bit for each cell: whether there is a seam before it */
    hb_stretch *stretches;
    uint32_t *stretch_of_block; /* of its first cell */
} hb_row;

/* Lays words of two or more bytes into an empty row, as hb_learner_new has them; false where that returns NULL. */
bool hb_row_fill(hb_row *row, const uint8_t *data, const int64_t *ends, const int64_t *counts, int64_t num_words);
void hb_row_free(hb_row *row);

static inline void hb_remove_seam(hb_row *row, uint32_t seam) {
    row->is_seam[seam / HB_BLOCK_SIZE] &= ~(UINT64_C(1) << seam % HB_BLOCK_SIZE);
}

/* The stretch of a cell; `known` is that of a cell further left. */
static inline const hb_stretch *hb_stretch_at(const hb_row *row, uint32_t cell, const hb_stretch *known) {
    if (cell < known->end) return known;
    const hb_stretch *hint = &row->stretches[row->stretch_of_block[cell / HB_BLOCK_SIZE]];
    if (hint > known) known = hint;
    while (cell >= known->end) known++;
    return known;
}

/* A seam of the row, the pair beside it, and how often its word occurs. */
typedef struct {
    uint64_t key;
    int64_t count;
    uint32_t seam;
} hb_occurrence;

/* A way through the row, from left to right. */
typedef struct {
    size_t block;
    const hb_stretch *stretch;
} hb_walk;

static inline hb_walk hb_start_of_row(const hb_row *row) { return (hb_walk){0, row->stretches}; }

/* The next occurrences, at most HB_WALK_SIZE; 0 at the end of the row. */
size_t hb_next_occurrences(const hb_row *row, hb_walk *walk, hb_occurrence *batch);

/* ---- learn_index.c: the pairs that occur often ---- */

typedef struct {
    uint64_t key;
    int64_t count; /* how often it occurs */
    size_t first;  /* its first in `seams`; ascending, and some are gone, or beside other tokens, by now */
    size_t num_seams;
} hb_pair;

typedef struct {
    uint64_t key;
    uint32_t pair; /* 0: empty */
} hb_pair_slot;

typedef struct {
    int64_t threshold; /* falls; 1: there are no other pairs */
    hb_pair *pairs;    /* from 1 */
    size_t num_pairs, pair_capacity;
    hb_pair_slot *slots; /* hash table of the pairs, linear probing */
    int slot_bits;
    uint32_t *seams;
    size_t num_seams, seam_capacity;
} hb_index;

/* Makes the index for pairs that occur less often than the threshold, which is lowered: to 1, and nothing is in
 * the index, if there is no pair. False: out of memory. */
bool hb_make_index(hb_learner *learner);
void hb_index_free(hb_index *index);

/* Adds a pair that the index does not have, without count and seams; NULL: out of memory. */
hb_pair *hb_add_pair(hb_index *index, uint64_t key);

/* The slot that has a pair, or where it would be. */
static inline hb_pair_slot *hb_slot_of_pair(const hb_index *index, uint64_t key) {
    const size_t mask = ((size_t)1 << index->slot_bits) - 1;
    size_t at = (size_t)(hb_pair_hash(key) >> (64 - index->slot_bits));
    while (index->slots[at].pair && index->slots[at].key != key) at = (at + 1) & mask;
    return &index->slots[at];
}

static inline void hb_add_seam(hb_index *index, uint32_t number, uint32_t seam) {
    hb_pair *pair = &index->pairs[number];
    index->seams[pair->first + pair->num_seams++] = seam;
}

/* ---- learn_heap.c: which pair is merged next ---- */

/* Numbers the bytes for the tie break "smallest ids". */
void hb_number_bytes(int32_t *byte_order);
/* Puts a pair of the index into the heap; false: out of memory. */
bool hb_add_candidate(hb_learner *learner, const hb_pair *added);
/* Takes the pair to merge next out of the heap; 0: there is none in the index. */
uint32_t hb_take_best(hb_learner *learner);

/* ---- learn_merge.c: tokens ---- */

typedef struct {
    uint64_t prefix; /* the first 8 bytes, zeros if there are fewer: as numbers they compare as the bytes do */
    uint64_t key;    /* the pair it was made of */
    uint32_t start;  /* where in the text its bytes are, once of many times */
    uint32_t size;
} hb_token; /* of a byte: prefix and size */

/* Adds the 256 bytes; false: out of memory. */
bool hb_add_bytes(hb_learner *learner);
/* Merges a pair of the index; false: out of memory. */
bool hb_merge(hb_learner *learner, uint32_t number);

/* ---- all of it ---- */

struct hb_learner {
    hb_row row;
    hb_index index;
    struct hb_candidate *heap; /* pairs of the index */
    size_t heap_size, heap_capacity;
    int32_t tie_break;
    int32_t byte_order[HB_NUM_BYTES];

    hb_token *tokens; /* by id, 256 of them bytes */
    size_t num_tokens, token_capacity, max_tokens;
    struct hb_neighbour *neighbours; /* by id: what each token is in the merge under way */
    int32_t *touched;                /* those that are something in it */
    int32_t num_touched;
};

/* The array with room for `needed` items, NULL if there is no memory (then it is as it was). */
static inline void *hb_with_room(void *array, size_t *capacity, size_t needed, size_t item_size) {
    if (needed <= *capacity) return array;
    const size_t wanted = needed + needed / 2 + 64;
    if (wanted > SIZE_MAX / item_size) return NULL;
    void *grown = realloc(array, wanted * item_size);
    if (grown) *capacity = wanted;
    return grown;
}

#endif
