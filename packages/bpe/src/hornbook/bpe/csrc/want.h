/* Inside the core: the slots of a batch of pretokens, sent for before they are read. */
#ifndef HORNBOOK_WANT_H
#define HORNBOOK_WANT_H

#include "scan.h"
#include "simd.h"
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

#ifdef HB_X86
/* Which of four pretokens from number i on are not in the slots where they are looked for first: 0 if all are. */
HB_FOR_AVX512 static inline unsigned hb_four_missed(const hb_wanted *wanted, int64_t i) {
#define HB_KEY(n) _mm_load_si128((const __m128i *)wanted->slots[i + (n)])
    __m512i keys = _mm512_castsi128_si512(HB_KEY(0));
    keys = _mm512_inserti64x2(keys, HB_KEY(1), 1);
    keys = _mm512_inserti64x2(keys, HB_KEY(2), 2);
    keys = _mm512_inserti64x2(keys, HB_KEY(3), 3);
#undef HB_KEY
    return _mm512_cmpneq_epi64_mask(keys, _mm512_loadu_si512(&wanted->keys[i]));
}
#endif

/* The wanter of that number, which the machine must be able to execute (machine.h). */
hb_wanter *hb_find_wanter(int simd);

#endif
