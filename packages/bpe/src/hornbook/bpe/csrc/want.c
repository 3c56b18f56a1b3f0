/* Keys and slots of a batch of pretokens: one after the other, or four at once. */
#include "want.h"

#include "machine.h"
#include "simd.h"

static void want_from(int64_t first, const hb_table *table, const uint8_t *const *starts, int64_t num_pretokens,
                      const uint8_t *readable, hb_wanted *wanted) {
    /* Copies, because the compiler can't know that writing to `wanted` leaves the table as it is. */
    const uint64_t hash_key[2] = {table->hash_key[0], table->hash_key[1]};
    const int shift = table->shift;
    hb_slot *const slots = table->slots;
    const uint8_t *at = starts[first];
    for (int64_t i = first; i < num_pretokens; i++) {
        const uint8_t *const next = starts[i + 1];
        const hb_key key = hb_key_of(at, next - at, readable, hash_key);
        hb_slot *const slot = slots + hb_slot_index(key, hash_key, shift);
        __builtin_prefetch(slot);
        wanted->keys[i] = key;
        wanted->slots[i] = slot;
        at = next;
    }
}

static void want(const hb_table *table, const uint8_t *const *starts, int64_t num_pretokens, const uint8_t *readable,
                 hb_wanted *wanted) {
    want_from(0, table, starts, num_pretokens, readable, wanted);
}

#ifdef HB_X86
/* Four keys lie in one vector, each in its quarter. A long pretoken, which is rare, is done again by itself. */
HB_FOR_AVX512 static void want_avx512(const hb_table *table, const uint8_t *const *starts, int64_t num_pretokens,
                                      const uint8_t *readable, hb_wanted *wanted) {
    const int64_t in_fours = readable - starts[num_pretokens] >= 16 ? num_pretokens & ~INT64_C(3) : 0;
    const __m512i hash_key =
        _mm512_broadcast_i64x2(_mm_set_epi64x((int64_t)table->hash_key[1], (int64_t)table->hash_key[0]));
    const __m128i shift = _mm_cvtsi32_si128(table->shift);
    const __m512i slots = _mm512_set1_epi64((int64_t)(uintptr_t)table->slots);
    const __m512i places = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const __mmask64 last_bytes = UINT64_C(0x8000800080008000);
    for (int64_t i = 0; i < in_fours; i += 4) {
#define HB_BYTES(n) _mm_loadu_si128((const __m128i *)starts[i + (n)])
        __m512i keys = _mm512_castsi128_si512(HB_BYTES(0));
        keys = _mm512_inserti64x2(keys, HB_BYTES(1), 1);
        keys = _mm512_inserti64x2(keys, HB_BYTES(2), 2);
        keys = _mm512_inserti64x2(keys, HB_BYTES(3), 3);
#undef HB_BYTES
        const __m256i sizes = _mm256_sub_epi64(_mm256_loadu_si256((const __m256i *)(starts + i + 1)),
                                               _mm256_loadu_si256((const __m256i *)(starts + i)));
        /* Each size in all 16 bytes of its quarter: bytes from there on become zeros, the last one the size. */
        const __m512i quarters =
            _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3), _mm512_castsi256_si512(sizes));
        const __m512i sizes_everywhere = _mm512_shuffle_epi8(quarters, _mm512_setzero_si512());
        keys = _mm512_maskz_mov_epi8(_mm512_cmplt_epu8_mask(places, sizes_everywhere), keys);
        keys = _mm512_mask_mov_epi8(keys, last_bytes, sizes_everywhere);
        _mm512_store_si512(&wanted->keys[i], keys);
        /* hb_slot_index, and from there to the address: a slot has 32 bytes. */
        const __m512i products = _mm512_mullo_epi64(keys, hash_key);
        const __m512i hashes = _mm512_add_epi64(products, _mm512_shuffle_epi32(products, _MM_PERM_BADC));
        const __m512i addresses = _mm512_add_epi64(slots, _mm512_slli_epi64(_mm512_srl_epi64(hashes, shift), 5));
        _mm256_storeu_si256((__m256i *)&wanted->slots[i],
                            _mm512_castsi512_si256(_mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 0, 0, 0, 0), addresses)));
        unsigned are_long = _mm256_cmpgt_epi64_mask(sizes, _mm256_set1_epi64x(HB_SHORT_BYTES));
        for (; are_long; are_long &= are_long - 1) {
            const int64_t n = i + __builtin_ctz(are_long);
            wanted->keys[n] = hb_key_of(starts[n], starts[n + 1] - starts[n], readable, table->hash_key);
            wanted->slots[n] = hb_first_slot(table, wanted->keys[n]);
        }
        for (int n = 0; n < 4; n++) __builtin_prefetch(wanted->slots[i + n]);
    }
    _mm256_zeroupper(); /* what follows is compiled without AVX, and slow while the registers are in use */
    want_from(in_fours, table, starts, num_pretokens, readable, wanted);
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
