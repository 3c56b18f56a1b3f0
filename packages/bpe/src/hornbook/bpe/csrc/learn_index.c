/* The pairs that occur at least `threshold` times: exactly how often, and their seams.
 *
 * Of rarer pairs, which are most, nothing is kept: the count of a pair only falls after the merge that made the
 * younger of its tokens, so no rare pair can become frequent. When the pairs of the index are used up, the next is
 * made from the row with a lower threshold, a few times in all.
 *
 * That takes three walks through the row. The first adds the counts up by a few bits of the pairs' hashes, in a
 * filter that is far smaller than the index of all pairs would be. It shows how high the threshold can be, and most
 * of the pairs that are rarer. The second counts the others. The third gives those which do reach the threshold
 * their seams.
 */
#include "learn.h"

enum {
    /* A new index begins so many times below the most frequent pair. Of 4 to 64, 8 and 16 were fastest: less makes
     * more indexes, more fills them with pairs whose turn never comes. */
    THRESHOLD_STEP = 16,
    CELLS_PER_SUM = 16, /* the size of the filter, */
    MIN_FILTER_BITS = 8,
    MAX_FILTER_BITS = 22, /* 32 MiB at most */
    MIN_SLOT_BITS = 10,
};

/* ---- its pairs ---- */

static bool resize_slots(hb_index *index, int slot_bits) {
    hb_pair_slot *slots = calloc((size_t)1 << slot_bits, sizeof *slots);
    if (!slots) return false;
    free(index->slots);
    index->slots = slots;
    index->slot_bits = slot_bits;
    for (size_t i = 1; i <= index->num_pairs; i++)
        *hb_slot_of_pair(index, index->pairs[i].key) = (hb_pair_slot){index->pairs[i].key, (uint32_t)i};
    return true;
}

hb_pair *hb_add_pair(hb_index *index, uint64_t key) {
    const size_t number = index->num_pairs + 1;
    if (number >= UINT32_MAX) return NULL;
    hb_pair *pairs = hb_with_room(index->pairs, &index->pair_capacity, number + 1, sizeof *pairs);
    if (!pairs) return NULL;
    index->pairs = pairs;
    const bool is_half_full = number > (size_t)1 << index->slot_bits >> 1;
    if (is_half_full && !resize_slots(index, index->slot_bits + 1)) return NULL;
    pairs[number] = (hb_pair){.key = key};
    *hb_slot_of_pair(index, key) = (hb_pair_slot){key, (uint32_t)number};
    index->num_pairs = number;
    return &pairs[number];
}

void hb_index_free(hb_index *index) {
    free(index->pairs);
    free(index->slots);
    free(index->seams);
}

/* ---- the first walk ---- */

/* Sums of the counts of pairs whose hashes begin with the same bits: no pair occurs more often than its sum. */
typedef struct {
    int64_t *sums;
    uint64_t *reaches; /* a bit for each sum: whether it reaches the threshold */
    int shift;
} filter;

static inline size_t sum_of(const filter *filter, uint64_t key) {
    return (size_t)(hb_pair_hash(key) >> filter->shift);
}

static bool make_filter(const hb_row *row, filter *filter, size_t *num_seams) {
    int bits = MIN_FILTER_BITS;
    while (bits < MAX_FILTER_BITS && row->num_cells >> bits > CELLS_PER_SUM) bits++;
    filter->shift = 64 - bits;
    filter->sums = calloc((size_t)1 << bits, sizeof *filter->sums);
    if (!filter->sums) return false;
    hb_occurrence batch[HB_WALK_SIZE];
    hb_walk walk = hb_start_of_row(row);
    *num_seams = 0;
    for (size_t size; (size = hb_next_occurrences(row, &walk, batch)) > 0; *num_seams += size)
        for (size_t i = 0; i < size; i++) filter->sums[sum_of(filter, batch[i].key)] += batch[i].count;
    return true;
}

/* Lowers the threshold to a fraction of the largest sum; to 1, at least. */
static bool lower_threshold(hb_index *index, filter *filter) {
    const size_t num_sums = (size_t)1 << (64 - filter->shift);
    filter->reaches = calloc(num_sums / 64, sizeof *filter->reaches);
    if (!filter->reaches) return false;
    int64_t most = 0;
    for (size_t i = 0; i < num_sums; i++) most = filter->sums[i] > most ? filter->sums[i] : most;
    if (most >= index->threshold) most = index->threshold - 1;
    index->threshold = most > THRESHOLD_STEP ? most / THRESHOLD_STEP : 1;
    for (size_t i = 0; i < num_sums; i++)
        filter->reaches[i / 64] |= (uint64_t)(filter->sums[i] >= index->threshold) << i % 64;
    free(filter->sums); /* megabytes that the seams can use */
    filter->sums = NULL;
    return true;
}

/* ---- the second and the third ---- */

/* The next occurrences of pairs that may reach the threshold; false at the end of the row. */
static bool next_frequent(const hb_row *row, const filter *filter, hb_walk *walk, hb_occurrence *batch, size_t *size) {
    const size_t num_all = hb_next_occurrences(row, walk, batch);
    *size = 0;
    for (size_t i = 0; i < num_all; i++) {
        const size_t sum = sum_of(filter, batch[i].key);
        batch[*size] = batch[i];
        *size += filter->reaches[sum / 64] >> sum % 64 & 1; /* not kept: the next one takes its place */
    }
    return num_all > 0;
}

/* Puts every pair that reaches the threshold, and few others, into the index, with counts and numbers of seams. */
static bool count_pairs(hb_index *index, const hb_row *row, const filter *filter) {
    hb_occurrence batch[HB_WALK_SIZE];
    hb_walk walk = hb_start_of_row(row);
    for (size_t size; next_frequent(row, filter, &walk, batch, &size);)
        for (size_t i = 0; i < size; i++) {
            const uint32_t number = hb_slot_of_pair(index, batch[i].key)->pair;
            hb_pair *found = number ? &index->pairs[number] : hb_add_pair(index, batch[i].key);
            if (!found) return false;
            found->count += batch[i].count;
            found->num_seams++;
        }
    return true;
}

/* Gives each frequent pair a place in the heap, and one for its seams. */
static bool place_pairs(hb_learner *learner, size_t seams_in_row) {
    hb_index *index = &learner->index;
    for (size_t i = 1; i <= index->num_pairs; i++) {
        hb_pair *pair = &index->pairs[i];
        if (pair->count < index->threshold) continue;
        pair->first = index->num_seams;
        index->num_seams += pair->num_seams;
        pair->num_seams = 0;
        if (!hb_add_candidate(learner, pair)) return false;
    }
    /* Room for pairs to come, most of which is never touched. A merge brings at most two seams for one that it
     * removes: when the room is used up, half of the seams are gone, so making the index anew for want of room
     * takes linear time in all. */
    index->seam_capacity = index->num_seams + seams_in_row + 1;
    index->seams = malloc(sizeof *index->seams * index->seam_capacity);
    return index->seams != NULL;
}

static void place_seams(hb_index *index, const hb_row *row, const filter *filter) {
    hb_occurrence batch[HB_WALK_SIZE];
    hb_walk walk = hb_start_of_row(row);
    for (size_t size; next_frequent(row, filter, &walk, batch, &size);)
        for (size_t i = 0; i < size; i++) {
            const uint32_t number = hb_slot_of_pair(index, batch[i].key)->pair;
            if (index->pairs[number].count >= index->threshold) hb_add_seam(index, number, batch[i].seam);
        }
}

bool hb_make_index(hb_learner *learner) {
    const hb_row *row = &learner->row;
    hb_index *index = &learner->index;
    free(index->seams);
    index->seams = NULL;
    index->num_pairs = index->num_seams = index->seam_capacity = learner->heap_size = 0;
    filter filter = {NULL, NULL, 0};
    size_t seams_in_row;
    const bool has_memory = make_filter(row, &filter, &seams_in_row) && lower_threshold(index, &filter) &&
                            resize_slots(index, MIN_SLOT_BITS) && count_pairs(index, row, &filter) &&
                            place_pairs(learner, seams_in_row);
    if (has_memory) place_seams(index, row, &filter);
    free(filter.sums);
    free(filter.reaches);
    return has_memory;
}
