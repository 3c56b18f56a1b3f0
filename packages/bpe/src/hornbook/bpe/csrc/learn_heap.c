/* Which pair is merged next: the most frequent, and of equally frequent ones that of the tie break.
 *
 * The pairs of the index wait in a binary heap, with the counts they had when they were put there. Counts only fall,
 * so a pair may come up too early, never too late: then it goes back with the count it has now.
 */
#include "learn.h"

enum { SMALLEST_IDS = 1 }; /* tie_break; else the greatest bytes */

typedef struct hb_candidate {
    int64_t count; /* may have fallen since */
    uint64_t key;
    uint32_t pair;
} candidate;

/* As Hugging Face's trainers do, in the order of the characters that stand for the bytes: printable ones stand for
 * themselves, then come the others, shifted to U+0100 and above. */
void hb_number_bytes(int32_t *byte_order) {
    int32_t number = 0;
    for (int is_shifted = 0; is_shifted < 2; is_shifted++)
        for (int value = 0; value < HB_NUM_BYTES; value++) {
            const bool is_printable = value > ' ' && value != 0xAD && (value < 0x7F || value > 0xA0);
            if (is_printable != is_shifted) byte_order[value] = number++;
        }
}

static inline int32_t order_of(const hb_learner *learner, int32_t id) {
    return id < HB_NUM_BYTES ? learner->byte_order[id] : id;
}

static int compare_bytes(const hb_learner *learner, int32_t one, int32_t other) {
    const hb_token *a = &learner->tokens[one], *b = &learner->tokens[other];
    if (a->prefix != b->prefix) return a->prefix < b->prefix ? -1 : 1;
    const uint32_t shared = a->size < b->size ? a->size : b->size;
    if (shared > HB_PREFIX_BYTES) {
        const uint8_t *text = learner->row.text + HB_PREFIX_BYTES;
        const int order = memcmp(text + a->start, text + b->start, shared - HB_PREFIX_BYTES);
        if (order) return order;
    }
    return (a->size > b->size) - (a->size < b->size);
}

/* Whether of two pairs that occur equally often the first is merged first. */
static bool wins_tie(const hb_learner *learner, uint64_t key, uint64_t other) {
    const int32_t left = hb_left_of(key), other_left = hb_left_of(other);
    const int32_t right = hb_right_of(key), other_right = hb_right_of(other);
    if (learner->tie_break == SMALLEST_IDS) {
        if (left != other_left) return order_of(learner, left) < order_of(learner, other_left);
        return order_of(learner, right) < order_of(learner, other_right);
    }
    /* Different tokens are different bytes: within a token, merges go the same way wherever it stands. */
    if (left != other_left) return compare_bytes(learner, left, other_left) > 0;
    return right != other_right && compare_bytes(learner, right, other_right) > 0;
}

static inline bool is_better(const hb_learner *learner, candidate a, candidate b) {
    return a.count != b.count ? a.count > b.count : wins_tie(learner, a.key, b.key);
}

static void sift_up(hb_learner *learner, candidate item) {
    candidate *heap = learner->heap;
    size_t at = learner->heap_size++;
    while (at > 0 && is_better(learner, item, heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = item;
}

/* Puts an item in the place of the first. */
static void sift_down(hb_learner *learner, candidate item) {
    candidate *heap = learner->heap;
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= learner->heap_size) break;
        if (child + 1 < learner->heap_size && is_better(learner, heap[child + 1], heap[child])) child++;
        if (!is_better(learner, heap[child], item)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = item;
}

bool hb_add_candidate(hb_learner *learner, const hb_pair *added) {
    candidate *heap = hb_with_room(learner->heap, &learner->heap_capacity, learner->heap_size + 1, sizeof *heap);
    if (!heap) return false;
    learner->heap = heap;
    sift_up(learner, (candidate){added->count, added->key, (uint32_t)(added - learner->index.pairs)});
    return true;
}

uint32_t hb_take_best(hb_learner *learner) {
    while (learner->heap_size > 0) {
        candidate first = learner->heap[0];
        const uint32_t number = first.pair;
        const int64_t count = learner->index.pairs[number].count;
        const bool is_best = first.count == count;
        if (is_best || count < learner->index.threshold) {
            first = learner->heap[--learner->heap_size]; /* it leaves, and the last takes its place */
        } else {
            first.count = count;
        }
        if (learner->heap_size > 0) sift_down(learner, first);
        if (is_best) return number;
    }
    return 0;
}
