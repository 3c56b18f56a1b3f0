/* Inside the core: what a counter holds. */
#ifndef HORNBOOK_COUNT_H
#define HORNBOOK_COUNT_H

#include "utf8.h"
#include "want.h"

struct hb_counter {
    hb_table table;          /* a slot's value is the count, and `extra` points to the bytes of a long pretoken */
    struct hb_chunk *chunks; /* where those are */
    int64_t num_bytes;       /* of the distinct pretokens */
    int64_t num_taken;       /* in ascending order: see order.c */
    hb_scanner *scan;
    hb_wanter *want;
    int64_t (*count_found)(const hb_wanted *, int64_t, int64_t);
    hb_validator *validate;
};

/* Of a long pretoken; its size stands before it. */
static inline const uint8_t *hb_long_bytes(const hb_slot *slot) { return (const uint8_t *)(uintptr_t)slot->extra; }

static inline int64_t hb_long_size(const hb_slot *slot) {
    int64_t size;
    memcpy(&size, hb_long_bytes(slot) - sizeof size, sizeof size);
    return size;
}

#endif
