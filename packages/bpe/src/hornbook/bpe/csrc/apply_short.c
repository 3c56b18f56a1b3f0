/* Applies merges to short pretokens, several side by side.
 *
 * A merge is a chain of look-ups that wait for one another: the least rank, the product, the ranks of its new pairs. A
 * pretoken alone would leave the processor idle for half the time, so several take turns.
 *
 * Byte number i has place i + 1; places 0 and size + 1 are borders. Where a token or a border starts, a bit is set.
 */
#include "apply.h"
#include "machine.h"
#include "simd.h"

enum { PLACE_BITS = 6 };

/* The key of a pair is rank << PLACE_BITS | place. All keys from here on have no rank: where no merge is, and where no
 * token starts. */
#define NO_KEY ((uint32_t)HB_NO_RANK << PLACE_BITS)

static inline uint32_t key_of(int32_t rank, int place) { return (uint32_t)rank << PLACE_BITS | (uint32_t)place; }

static void begin(const hb_merges *merges, hb_piece *piece) {
    const uint8_t *const bytes = piece->bytes;
    int32_t all = 0;
    for (int i = 0; i < piece->size; i++) all |= piece->ids[i + 1] = merges->byte_ids[bytes[i]];
    piece->num_ids = all < 0 ? (int32_t)hb_missing_byte(merges, bytes) : piece->size;
    piece->ids[0] = piece->ids[piece->size + 1] = 0; /* looked up as others are; no key comes of it */
    piece->starts = (UINT64_C(1) << piece->size << 2) - 1;
    memset(piece->keys, 0xFF, sizeof piece->keys);
    for (int i = 0; i < piece->size - 1; i++)
        piece->keys[i + 1] = key_of(merges->byte_ranks[bytes[i] << 8 | bytes[i + 1]], i + 1);
}

/* Joins the tokens of the pair with that key. Without a branch that depends on the text. */
static inline void join(const hb_merges *merges, hb_piece *piece, uint32_t key) {
    const int at = key & ((1 << PLACE_BITS) - 1);
    uint64_t later = piece->starts & (~UINT64_C(1) << at);
    const int gone = __builtin_ctzll(later);
    later &= later - 1;
    const int next = __builtin_ctzll(later);
    const int previous = 63 - __builtin_clzll(piece->starts & ((UINT64_C(1) << at) - 1));
    const int32_t id = merges->products[key >> PLACE_BITS];
    piece->ids[at] = id;
    piece->starts &= ~(UINT64_C(1) << gone);
    piece->num_ids--;
    piece->keys[gone] = NO_KEY;
    piece->keys[at] = key_of(hb_rank_of(merges, id, piece->ids[next]), at) | -(uint32_t)(next > piece->size);
    piece->keys[previous] = key_of(hb_rank_of(merges, piece->ids[previous], id), previous); /* place 0: never read */
}

/* The least key of a piece; places after `last` have none. */
static inline uint32_t least_key(const hb_piece *piece, int last) {
    uint32_t least = NO_KEY, other = NO_KEY;
    for (int i = 1; i < last; i += 2) { /* no vectors: those are slow to read what was just written in parts */
        uint32_t one = piece->keys[i], next = piece->keys[i + 1];
        __asm__("" : "+r"(one), "+r"(next));
        least = one < least ? one : least;
        other = next < other ? next : other;
    }
    return least < other ? least : other;
}

#ifdef HB_X86
/* By then others had their turns, and what was written is where vectors are read from. */
HB_FOR_AVX512 static inline uint32_t least_key_avx512(const hb_piece *piece, int last) {
    __m512i least = _mm512_loadu_si512(piece->keys + 1);
    for (int i = 17; i < last; i += 16) least = _mm512_min_epu32(least, _mm512_loadu_si512(piece->keys + i));
    return _mm512_reduce_min_epu32(least);
}
#endif

/* Joins what has the least key in each piece in turn, until there is none. */
#define TAKE_TURNS(name, target, least_key)                                                                \
    target static void name(const hb_merges *merges, hb_piece **turns, int num_turns, int last) {          \
        while (num_turns)                                                                                  \
            for (int i = 0; i < num_turns; i++) {                                                          \
                const uint32_t key = least_key(turns[i], last);                                            \
                if (key < NO_KEY)                                                                          \
                    join(merges, turns[i], key);                                                           \
                else                                                                                       \
                    turns[i--] = turns[--num_turns];                                                       \
            }                                                                                              \
    }

TAKE_TURNS(take_turns_plain, , least_key)
#ifdef HB_X86
TAKE_TURNS(take_turns_avx512, HB_FOR_AVX512, least_key_avx512)
#endif

void hb_apply_short(const hb_merges *merges, hb_piece *pieces, int num_pieces, int simd) {
    hb_piece *turns[HB_PIECES];
    int num_turns = 0, last = 0;
    for (int i = 0; i < num_pieces; i++) {
        begin(merges, &pieces[i]);
        if (pieces[i].num_ids < 0) continue;
        turns[num_turns++] = &pieces[i];
        if (pieces[i].size > last) last = pieces[i].size;
    }
#ifdef HB_X86
    if (simd == HB_AVX512)
        take_turns_avx512(merges, turns, num_turns, last);
    else
#endif
        take_turns_plain(merges, turns, num_turns, last);
    (void)simd;
    for (int i = 0; i < num_pieces; i++) {
        uint64_t starts = pieces[i].starts & ~UINT64_C(1);
        for (int n = 0; n < pieces[i].num_ids; n++, starts &= starts - 1)
            pieces[i].ids[n] = pieces[i].ids[__builtin_ctzll(starts)];
    }
}
