/* Inside the core: the slots of a batch of pretokens, sent for before they are read. */
#ifndef HORNBOOK_WANT_H
#define HORNBOOK_WANT_H

#include "scan.h"
#include "table.h"

/* Keys of a batch, and the slot where each is looked for. */
typedef struct {
    _Alignas(64) hb_key keys[HB_BATCH_ROOM];
    hb_slot *slots[HB_BATCH_ROOM];
} hb_wanted;

/* Fills `wanted` for the pretokens between starts[0] and starts[num_pretokens], and has their slots come from memory.
 * The text can be read up to `readable`. */
typedef void hb_wanter(const hb_table *table, const uint8_t *const *starts, int64_t num_pretokens,
                       const uint8_t *readable, hb_wanted *wanted);

/* The wanter of that number, which the machine must be able to execute (machine.h). */
hb_wanter *hb_find_wanter(int simd);

#endif
