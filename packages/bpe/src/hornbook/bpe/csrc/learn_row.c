/* The words from which merges are learned.
 *
 * They lie in a row of cells, one for each byte, with an empty cell before and after each word. A token of n bytes
 * covers n cells and has its id in the first and in the last of them (the boundary tags of Knuth's allocator). So
 * what stands left and right of any seam, the border before a cell, is found without links:
 *
 *     text         t   h   e   r   e       i   s
 *     cells    -  the  .  the  r   e   -   i   s   -
 *                            ^ a seam: cells[seam - 1] is "the", cells[seam] is "r"
 *
 * A merge removes the seam between its two tokens, and no other seam ever moves: a seam stands for one occurrence
 * of a pair from the beginning until it is gone, whichever tokens come to lie beside it.
 *
 * The words are sorted by how often they occur, so that there are few stretches of equal counts, and a merge, which
 * goes from left to right, seldom has to look for the one it is in.
 */
#include "learn.h"

enum { DIGIT_BITS = 11, NUM_DIGITS = 1 << DIGIT_BITS }; /* of the radix sort */

static inline size_t num_blocks_of(const hb_row *row) { return row->num_cells / HB_BLOCK_SIZE + 1; }

size_t hb_next_occurrences(const hb_row *row, hb_walk *walk, hb_occurrence *batch) {
    const size_t num_blocks = num_blocks_of(row);
    const int32_t *const cells = row->cells;
    const hb_stretch *stretch = walk->stretch;
    size_t size = 0;
    for (; walk->block < num_blocks && size <= HB_WALK_SIZE - HB_BLOCK_SIZE; walk->block++)
        for (uint64_t bits = row->is_seam[walk->block]; bits; bits &= bits - 1) {
            const uint32_t seam = (uint32_t)(walk->block * HB_BLOCK_SIZE) + (uint32_t)__builtin_ctzll(bits);
            while (seam >= stretch->end) stretch++;
            batch[size++] = (hb_occurrence){hb_pair_key(cells[seam - 1], cells[seam]), stretch->count, seam};
        }
    walk->stretch = stretch;
    return size;
}

/* Sorts words by their counts, in ascending order: radix sort. The result lies in `order` or in `spare`, which is as
 * long. */
static uint32_t *sort_by_count(const int64_t *counts, uint32_t *order, uint32_t *spare, size_t num_words) {
    int64_t all_bits = 0;
    for (size_t i = 0; i < num_words; i++) all_bits |= counts[order[i]];
    for (int shift = 0; shift < 63 && all_bits >> shift; shift += DIGIT_BITS) {
        size_t starts[NUM_DIGITS + 1] = {0};
        for (size_t i = 0; i < num_words; i++) starts[1 + (counts[order[i]] >> shift) % NUM_DIGITS]++;
        for (int digit = 0; digit < NUM_DIGITS; digit++) starts[digit + 1] += starts[digit];
        for (size_t i = 0; i < num_words; i++) spare[starts[(counts[order[i]] >> shift) % NUM_DIGITS]++] = order[i];
        uint32_t *sorted = spare;
        spare = order;
        order = sorted;
    }
    return order;
}

static void find_stretches_of_blocks(hb_row *row, size_t last) {
    uint32_t number = 0;
    for (size_t block = 0; block < num_blocks_of(row); block++) {
        while (number < last && block * HB_BLOCK_SIZE >= row->stretches[number].end) number++;
        row->stretch_of_block[block] = number;
    }
}

static bool allocate(hb_row *row, size_t num_stretches) {
    const size_t num_blocks = num_blocks_of(row);
    row->cells = malloc(sizeof *row->cells * row->num_cells);
    row->text = malloc(row->num_cells);
    row->is_seam = calloc(num_blocks, sizeof *row->is_seam);
    row->stretches = malloc(sizeof *row->stretches * (num_stretches + 1));
    row->stretch_of_block = malloc(sizeof *row->stretch_of_block * num_blocks);
    return row->cells && row->text && row->is_seam && row->stretches && row->stretch_of_block;
}

/* Lays sorted words into the row. */
static bool lay_out(hb_row *row, const uint8_t *data, const int64_t *ends, const int64_t *counts,
                    const uint32_t *order, size_t num_words) {
    size_t num_stretches = 0;
    for (size_t i = 0; i < num_words; i++) num_stretches += i == 0 || counts[order[i]] != counts[order[i - 1]];
    if (!allocate(row, num_stretches)) return false;
    uint32_t cell = 0;
    size_t last = 0;
    row->cells[cell++] = HB_NO_TOKEN;
    for (size_t i = 0; i < num_words; i++) {
        const int64_t word = order[i], begin = word ? ends[word - 1] : 0, size = ends[word] - begin;
        memcpy(row->text + cell, data + begin, (size_t)size);
        for (int64_t at = 0; at < size; at++, cell++) {
            row->cells[cell] = data[begin + at];
            if (at > 0) row->is_seam[cell / HB_BLOCK_SIZE] |= UINT64_C(1) << cell % HB_BLOCK_SIZE;
        }
        row->cells[cell++] = HB_NO_TOKEN;
        if (i > 0 && counts[word] != counts[order[i - 1]]) last++;
        row->stretches[last] = (hb_stretch){counts[word], cell};
    }
    find_stretches_of_blocks(row, last);
    return true;
}

bool hb_row_fill(hb_row *row, const uint8_t *data, const int64_t *ends, const int64_t *counts, int64_t num_words) {
    uint32_t *order = malloc(sizeof *order * (size_t)(num_words + 1));
    uint32_t *spare = malloc(sizeof *spare * (size_t)(num_words + 1));
    bool is_done = false;
    if (order && spare && num_words <= UINT32_MAX) {
        size_t num_used = 0;
        uint64_t num_cells = 1;
        for (int64_t word = 0; word < num_words; word++) {
            const int64_t size = ends[word] - (word ? ends[word - 1] : 0);
            if (size < 2) continue; /* no pair in it */
            order[num_used++] = (uint32_t)word;
            num_cells += (uint64_t)size + 1;
        }
        row->num_cells = (uint32_t)num_cells;
        is_done = num_cells <= UINT32_MAX &&
                  lay_out(row, data, ends, counts, sort_by_count(counts, order, spare, num_used), num_used);
    }
    free(order);
    free(spare);
    return is_done;
}

void hb_row_free(hb_row *row) {
    free(row->cells);
    free(row->text);
    free(row->is_seam);
    free(row->stretches);
    free(row->stretch_of_block);
}
