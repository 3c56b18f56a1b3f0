/* Keys and slots of a batch of pretokens: one after the other, or eight at once. */
#include "want.h"

#include "machine.h"
#include "simd.h"

enum { NEAR_SLOTS = 1 << 16 }; /* 2 MB: they stay in the second cache, and sending for them costs more than it brings */

static void want(const hb_table *table, const uint8_t *const *starts, int64_t num_pretokens, const uint8_t *readable,
                 hb_wanted *wanted) {
    /* Copies, because the compiler can't know that writing to `wanted` leaves the table as it is. */
    const uint64_t hash_key[2] = {table->hash_key[0], table->hash_key[1]};
    const int shift = table->shift;
    hb_slot *const slots = table->slots;
    const uint8_t *at = starts[0];
    for (int64_t i = 0; i < num_pretokens; i++) {
        const uint8_t *const next = starts[i + 1];
        const hb_key key = hb_key_of(at, next - at, readable, hash_key);
        hb_slot *const slot = slots + hb_slot_index(key, hash_key, shift);
        __builtin_prefetch(slot);
        wanted->keys[i] = key;
        wanted->slots[i] = slot;
        at = next;
    }
}

#ifdef HB_X86
/* The keys of four short pretokens, each in its quarter of a vector; `sizes` has theirs as the bytes 8 `first` and on. */
HB_FOR_AVX512 static inline __m512i four_keys(const uint8_t *const *starts, __m512i sizes, int first) {
#define HB_BYTES(n) _mm_loadu_si128((const __m128i *)starts[first + (n)])
    __m512i bytes = _mm512_castsi128_si512(HB_BYTES(0));
    bytes = _mm512_inserti64x2(bytes, HB_BYTES(1), 1);
    bytes = _mm512_inserti64x2(bytes, HB_BYTES(2), 2);
    bytes = _mm512_inserti64x2(bytes, HB_BYTES(3), 3);
#undef HB_BYTES
    /* Each size in all 16 bytes of its quarter: bytes from there on become zeros, the last one the size. */
    const __m512i quarters = _mm512_set_epi64(0x1818181818181818, 0x1818181818181818, 0x1010101010101010, 0x1010101010101010,
                                              0x0808080808080808, 0x0808080808080808, 0, 0);
    const __m512i places = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const __mmask64 last_bytes = UINT64_C(0x8000800080008000);
    const __m512i from = _mm512_add_epi8(quarters, _mm512_set1_epi8((char)(8 * first)));
    const __m512i sizes_everywhere = _mm512_permutexvar_epi8(from, sizes);
    bytes = _mm512_maskz_mov_epi8(_mm512_cmplt_epu8_mask(places, sizes_everywhere), bytes);
    return _mm512_mask_mov_epi8(bytes, last_bytes, sizes_everywhere);
}

/* Eight at a time, the last of them perhaps for the second time. A long pretoken, which is rare, is done again. */
HB_FOR_AVX512 static void want_avx512(const hb_table *table, const uint8_t *const *starts, int64_t num_pretokens,
                                      const uint8_t *readable, hb_wanted *wanted) {
    if (num_pretokens < 8 || readable - starts[num_pretokens] < 16) {
        want(table, starts, num_pretokens, readable, wanted);
        return;
    }
    const __m512i hash_key =
        _mm512_broadcast_i64x2(_mm_set_epi64x((int64_t)table->hash_key[1], (int64_t)table->hash_key[0]));
    /* hb_slot_index times the size of a slot, which is 2^5. */
    const __m512i shift = _mm512_set1_epi64(table->shift - 5), whole_slots = _mm512_set1_epi64(-(INT64_C(1) << 5));
    const __m512i slots = _mm512_set1_epi64((int64_t)(uintptr_t)table->slots);
    const __m512i lows = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), highs = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
    const int are_far = table->num_slots > NEAR_SLOTS;
    for (int64_t next = 0; next < num_pretokens; next += 8) {
        const int64_t i = next < num_pretokens - 8 ? next : num_pretokens - 8;
        const __m512i sizes = _mm512_sub_epi64(_mm512_loadu_si512(starts + i + 1), _mm512_loadu_si512(starts + i));
        const __m512i first = four_keys(starts + i, sizes, 0), second = four_keys(starts + i, sizes, 4);
        _mm512_storeu_si512(&wanted->keys[i], first);
        _mm512_storeu_si512(&wanted->keys[i + 4], second);
        const __m512i products = _mm512_mullo_epi64(first, hash_key), more = _mm512_mullo_epi64(second, hash_key);
        const __m512i hashes = _mm512_add_epi64(_mm512_permutex2var_epi64(products, lows, more),
                                                _mm512_permutex2var_epi64(products, highs, more));
        const __m512i offsets = _mm512_and_si512(_mm512_srlv_epi64(hashes, shift), whole_slots);
        const __m512i addresses = _mm512_add_epi64(slots, offsets);
        /* In halves: from 64 bytes at once the processor is slow to hand on the single ones that are read below. */
        _mm256_storeu_si256((__m256i *)&wanted->slots[i], _mm512_castsi512_si256(addresses));
        _mm256_storeu_si256((__m256i *)&wanted->slots[i + 4], _mm512_extracti64x4_epi64(addresses, 1));
        unsigned are_long = _mm512_cmpgt_epu64_mask(sizes, _mm512_set1_epi64(HB_SHORT_BYTES));
        for (; are_long; are_long &= are_long - 1) {
            const int64_t n = i + __builtin_ctz(are_long);
            wanted->keys[n] = hb_key_of(starts[n], starts[n + 1] - starts[n], readable, table->hash_key);
            wanted->slots[n] = hb_first_slot(table, wanted->keys[n]);
        }
        if (are_far)
            for (int n = 0; n < 8; n++) __builtin_prefetch(wanted->slots[i + n]);
    }
    _mm256_zeroupper(); /* what follows is compiled without AVX, and slow while the registers are in use */
}
#endif

hb_wanter *hb_find_wanter(int simd) {
#ifdef HB_X86
    if (simd == HB_AVX512) return want_avx512;
#else
    (void)simd;
#endif
    return want;
}
