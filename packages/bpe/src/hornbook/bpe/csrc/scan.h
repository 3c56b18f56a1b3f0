/* Inside the core: pretokens found a batch at a time. */
#ifndef HORNBOOK_SCAN_H
#define HORNBOOK_SCAN_H

#include "bpe.h"

/* Enough to keep memory busy with a whole batch of look-ups, and small enough to stay in the first cache. */
enum { HB_BATCH = 256, HB_BATCH_ROOM = HB_BATCH + 72 };

/* Where the pretokens of [at, end) start, into starts[0 .. n - 1]; n is returned. starts[n] is where it stopped:
 * `end`, or where the next batch begins. `end` must be the end of the text or the start of a special token,
 * because the pattern looks ahead. Needs at < end. Memory can be read up to `readable`, which is not before `end`. */
typedef int64_t hb_scanner(const uint8_t *at, const uint8_t *end, const uint8_t *readable, const uint8_t **starts);

/* The same for pretokens found elsewhere, `num_words` of them one after another in `data`: where those from number
 * `first` on start, as many as a batch takes. */
static inline int64_t hb_word_starts(const uint8_t *data, const int64_t *ends, int64_t first, int64_t num_words,
                                     const uint8_t **starts) {
    const int64_t left = num_words - first, num_found = left < HB_BATCH ? left : HB_BATCH;
    starts[0] = data + (first ? ends[first - 1] : 0);
    for (int64_t i = 0; i < num_found; i++) starts[i + 1] = data + ends[first + i];
    return num_found;
}

/* The scanner of that number, which the machine must be able to execute (machine.h). */
hb_scanner *hb_find_scanner(int simd);

enum { HB_TEXT_AHEAD = 1 << 12 };

/* Sends for the text that comes HB_TEXT_AHEAD after [at, next): what reads it next reads it in short stretches, of
 * which the processor itself sees too little to run ahead. */
static inline void hb_prefetch_text(const uint8_t *at, const uint8_t *next, const uint8_t *end) {
    if (end - next <= HB_TEXT_AHEAD) return;
    for (at += HB_TEXT_AHEAD, next += HB_TEXT_AHEAD; at < next; at += 64) __builtin_prefetch(at);
}

#endif
