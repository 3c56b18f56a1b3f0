/* Learns merges from counted words: again and again, the pair of neighbouring tokens that occurs most often
 * becomes a token (Sennrich et al. 2016).
 *
 * The words lie in a row (learn_row.c). The index has the pairs that occur often, and for each its count and its
 * places in the row (learn_index.c); a heap finds the most frequent of them (learn_heap.c). A merge joins the two
 * tokens at these places and brings the index up to date (learn_merge.c): its cost is that of the places it looks
 * at, however long the words are. When the pairs of the index are used up, the next index is made, of rarer pairs.
 */
#include "learn.h"

/* Word i is data[ends[i - 1]..ends[i]) and occurs counts[i] times, at least once; all is copied. The pairs in the
 * text must be fewer than 2^62, words below 2^32. NULL: out of memory, or the words of two or more bytes have 2^32
 * bytes or more, one added for each. */
hb_learner *hb_learner_new(const uint8_t *data, const int64_t *ends, const int64_t *counts, int64_t num_words,
                           int64_t max_merges, int32_t tie_break) {
    hb_learner *learner = calloc(1, sizeof *learner);
    if (!learner) return NULL;
    const int64_t id_limit = INT32_MAX - HB_NUM_BYTES;
    learner->max_tokens = HB_NUM_BYTES + (size_t)(max_merges < id_limit ? max_merges : id_limit);
    learner->tie_break = tie_break;
    hb_number_bytes(learner->byte_order);
    learner->index.threshold = INT64_MAX;
    if (!hb_add_bytes(learner) || !hb_row_fill(&learner->row, data, ends, counts, num_words)) {
        hb_learner_free(learner);
        return NULL;
    }
    return learner;
}

/* Learns up to `num_more` merges more. Returns how many; fewer than asked when no pair is left or the most asked
 * for at first is reached. HB_OUT_OF_MEMORY: the learner is good for nothing more but to be freed. */
int64_t hb_learner_run(hb_learner *learner, int64_t num_more) {
    int64_t num_learned = 0;
    while (num_learned < num_more && learner->num_tokens < learner->max_tokens) {
        const uint32_t best = hb_take_best(learner);
        if (best) {
            if (!hb_merge(learner, best)) return HB_OUT_OF_MEMORY;
            num_learned++;
        } else {
            if (learner->index.threshold == 1) break;
            if (!hb_make_index(learner)) return HB_OUT_OF_MEMORY;
        }
    }
    return num_learned;
}

/* Writes left and right id of each merge so far. Ids: a byte's value, or 256 + the number of the merge. */
void hb_learner_merges(const hb_learner *learner, int32_t *pairs) {
    for (size_t i = 0; i < learner->num_tokens - HB_NUM_BYTES; i++) {
        pairs[2 * i] = hb_left_of(learner->tokens[HB_NUM_BYTES + i].key);
        pairs[2 * i + 1] = hb_right_of(learner->tokens[HB_NUM_BYTES + i].key);
    }
}

void hb_learner_free(hb_learner *learner) {
    if (!learner) return;
    hb_row_free(&learner->row);
    hb_index_free(&learner->index);
    free(learner->heap);
    free(learner->tokens);
    free(learner->neighbours);
    free(learner->touched);
    free(learner);
}
