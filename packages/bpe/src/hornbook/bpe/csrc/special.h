/* Inside the core: the next special token of a text. */
#ifndef HORNBOOK_SPECIAL_H
#define HORNBOOK_SPECIAL_H

#include "bpe.h"

typedef struct {
    const uint8_t *start, *end; /* both the end of the text if there is none */
    int64_t index;              /* in the order given to hb_specials_new */
} hb_special;

/* The leftmost special token in [at, end), of several that start there the longest. `specials` may be NULL. */
hb_special hb_next_special(const hb_specials *specials, const uint8_t *at, const uint8_t *end);

#endif
