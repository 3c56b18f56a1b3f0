/* One merge: the pair becomes a token wherever it occurs, and the index is told of the pairs that are gone and of
 * those that are new.
 *
 * Both are pairs of a neighbour: a token that stands beside the new one. So what changes is noted by neighbour, how
 * often it stands before and how often after, while the tokens are joined; then the index is asked once for each
 * neighbour, not once for each occurrence.
 */
#include "learn.h"

enum { PREFETCH_AHEAD = 16 }; /* seams of a pair: their cells are anywhere in the row */

/* How often a token stands on one side of the new one. */
typedef struct {
    int64_t count;
    uint32_t num_seams;
    uint32_t pair; /* number in the index of the pair that the two make, 0 if it is too rare */
} side;

typedef struct hb_neighbour {
    side before, after; /* all zero between merges */
} neighbour;

/* ---- the tokens ---- */

/* Makes room for one token more. */
static bool reserve_token(hb_learner *learner) {
    if (learner->num_tokens < learner->token_capacity) return true;
    const size_t capacity = 2 * learner->token_capacity + 2 * HB_NUM_BYTES;
    hb_token *tokens = realloc(learner->tokens, capacity * sizeof *tokens);
    if (tokens) learner->tokens = tokens;
    int32_t *touched = realloc(learner->touched, capacity * sizeof *touched);
    if (touched) learner->touched = touched;
    neighbour *neighbours = calloc(capacity, sizeof *neighbours); /* between merges there is nothing to keep */
    if (neighbours) {
        free(learner->neighbours);
        learner->neighbours = neighbours;
    }
    if (!tokens || !touched || !neighbours) return false;
    learner->token_capacity = capacity;
    return true;
}

bool hb_add_bytes(hb_learner *learner) {
    if (!reserve_token(learner)) return false;
    for (uint64_t value = 0; value < HB_NUM_BYTES; value++)
        learner->tokens[learner->num_tokens++] = (hb_token){.prefix = value << 56, .size = 1};
    return true;
}

/* Adds the token of a merge, whose bytes are in the text at `start`. */
static bool add_token(hb_learner *learner, uint64_t key, uint32_t start) {
    if (!reserve_token(learner)) return false;
    const hb_token *left = &learner->tokens[hb_left_of(key)], *right = &learner->tokens[hb_right_of(key)];
    hb_token added = {.key = key, .start = start, .size = left->size + right->size};
    for (uint32_t i = 0; i < HB_PREFIX_BYTES && i < added.size; i++)
        added.prefix |= (uint64_t)learner->row.text[start + i] << (56 - 8 * i);
    learner->tokens[learner->num_tokens++] = added;
    return true;
}

/* ---- the row ---- */

static inline neighbour *touch(hb_learner *learner, int32_t id) {
    neighbour *neighbour = &learner->neighbours[id];
    if (!neighbour->before.num_seams && !neighbour->after.num_seams) learner->touched[learner->num_touched++] = id;
    return neighbour;
}

/* Joins the pair wherever it still occurs and notes the neighbours. Keeps the seams where it did, which are gone
 * now, in their places in the index; returns how many. From left to right: "aaa" becomes "aa", "a".
 *
 * The cells of a seam that is gone say which pair was merged there, or have the id of a younger token: no pair is
 * merged twice, so such a seam is never taken for one of the pair. */
static size_t join(hb_learner *learner, uint64_t key, uint32_t *seams, size_t num_seams, int32_t merged) {
    const int32_t left = hb_left_of(key), right = hb_right_of(key);
    const uint32_t left_size = learner->tokens[left].size, right_size = learner->tokens[right].size;
    hb_row *const row = &learner->row;
    int32_t *const cells = row->cells;
    const hb_stretch *stretch = row->stretches;
    size_t num_joined = 0;
    for (size_t i = 0; i < num_seams; i++) {
        if (i + PREFETCH_AHEAD < num_seams) __builtin_prefetch(&cells[seams[i + PREFETCH_AHEAD]], 1);
        const uint32_t seam = seams[i];
        if (cells[seam - 1] != left || cells[seam] != right) continue;
        seams[num_joined++] = seam;
        const uint32_t begin = seam - left_size, end = seam + right_size;
        hb_remove_seam(row, seam);
        cells[begin] = cells[end - 1] = merged;
        stretch = hb_stretch_at(row, seam, stretch);
        if (cells[begin - 1] != HB_NO_TOKEN) {
            side *before = &touch(learner, cells[begin - 1])->before;
            before->count += stretch->count;
            before->num_seams++;
        }
        if (cells[end] != HB_NO_TOKEN) {
            side *after = &touch(learner, cells[end])->after;
            after->count += stretch->count;
            after->num_seams++;
        }
    }
    return num_joined;
}

/* ---- the index ---- */

static void decrease(hb_index *index, uint64_t key, int64_t count) {
    const uint32_t number = hb_slot_of_pair(index, key)->pair;
    if (number) index->pairs[number].count -= count;
}

/* Takes the pairs that the merge broke up out of the counts, and leaves in the notes those it made. */
static void count_broken_pairs(hb_learner *learner, int32_t left, int32_t right, int32_t merged) {
    for (int32_t i = 0; i < learner->num_touched; i++) {
        const int32_t id = learner->touched[i];
        const neighbour *neighbour = &learner->neighbours[id];
        if (neighbour->before.count) decrease(&learner->index, hb_pair_key(id, left), neighbour->before.count);
        if (neighbour->after.count) decrease(&learner->index, hb_pair_key(right, id), neighbour->after.count);
    }
    /* Where two new tokens stand side by side, the first was noted when the second was still in pieces. */
    const side twins = learner->neighbours[merged].before;
    learner->neighbours[left].after.count -= twins.count;
    learner->neighbours[left].after.num_seams -= twins.num_seams;
}

/* How many seams the new pairs bring into the index. */
static size_t num_new_seams(const hb_learner *learner) {
    const int64_t threshold = learner->index.threshold;
    size_t sum = 0;
    for (int32_t i = 0; i < learner->num_touched; i++) {
        const neighbour *neighbour = &learner->neighbours[learner->touched[i]];
        if (neighbour->before.count >= threshold) sum += neighbour->before.num_seams;
        if (neighbour->after.count >= threshold) sum += neighbour->after.num_seams;
    }
    return sum;
}

static bool add_new_pair(hb_learner *learner, uint64_t key, side *side) {
    hb_index *index = &learner->index;
    if (side->count < index->threshold) return true;
    hb_pair *added = hb_add_pair(index, key);
    if (!added) return false;
    added->count = side->count;
    added->first = index->num_seams;
    index->num_seams += side->num_seams;
    side->pair = (uint32_t)(added - index->pairs);
    return hb_add_candidate(learner, added);
}

static bool add_new_pairs(hb_learner *learner, int32_t merged) {
    for (int32_t i = 0; i < learner->num_touched; i++) {
        const int32_t id = learner->touched[i];
        neighbour *neighbour = &learner->neighbours[id];
        if (!add_new_pair(learner, hb_pair_key(id, merged), &neighbour->before)) return false;
        if (!add_new_pair(learner, hb_pair_key(merged, id), &neighbour->after)) return false;
    }
    return true;
}

/* Gives the new pairs of the index their seams: the ends of the new tokens. */
static void add_new_seams(hb_learner *learner, const uint32_t *joined, size_t num_joined, uint32_t left_size,
                          uint32_t right_size) {
    for (size_t i = 0; i < num_joined; i++) {
        const uint32_t begin = joined[i] - left_size, end = joined[i] + right_size;
        const int32_t before = learner->row.cells[begin - 1], after = learner->row.cells[end];
        if (before != HB_NO_TOKEN) {
            const uint32_t number = learner->neighbours[before].before.pair;
            if (number) hb_add_seam(&learner->index, number, begin);
        }
        if (after != HB_NO_TOKEN) { /* not noted where it is new as well: what stands before has the seam */
            const uint32_t number = learner->neighbours[after].after.pair;
            if (number) hb_add_seam(&learner->index, number, end);
        }
    }
}

static void forget_neighbours(hb_learner *learner) {
    for (int32_t i = 0; i < learner->num_touched; i++)
        learner->neighbours[learner->touched[i]] = (neighbour){{0}, {0}};
    learner->num_touched = 0;
}

bool hb_merge(hb_learner *learner, uint32_t number) {
    hb_index *index = &learner->index;
    const hb_pair best = index->pairs[number]; /* a copy: `pairs` may move */
    const int32_t left = hb_left_of(best.key), right = hb_right_of(best.key), merged = (int32_t)learner->num_tokens;
    const uint32_t left_size = learner->tokens[left].size, right_size = learner->tokens[right].size;
    uint32_t *seams = index->seams + best.first;
    /* The pair may be gone from its first seam, but its text is still there. */
    if (!add_token(learner, best.key, seams[0] - left_size)) return false;

    const size_t num_joined = join(learner, best.key, seams, best.num_seams, merged);
    count_broken_pairs(learner, left, right, merged);
    const size_t num_new = num_new_seams(learner);
    if (num_new > index->seam_capacity - index->num_seams) {
        learner->heap_size = 0; /* no room: the index is made anew, and no pair occurs more often than this one */
        index->threshold = best.count + 1;
    } else if (num_new > 0) {
        if (!add_new_pairs(learner, merged)) return false;
        add_new_seams(learner, seams, num_joined, left_size, right_size);
    }
    forget_neighbours(learner);
    return true;
}
