/* Classes of 64 bytes at once, as bit masks: bit i is byte i. And from a mask back to addresses.
 *
 * Each instruction set has one function `hb_masks_*`. On x86-64 there are three: SSE2, which every such machine
 * has, AVX2 and AVX-512, which scan.c uses only where the running machine has them.
 */
#ifndef HORNBOOK_SIMD_H
#define HORNBOOK_SIMD_H

#include "bpe.h"

typedef struct {
    uint64_t letters, digits, blanks /* U+0020 */, spaces /* blanks too */, apostrophes, high /* not ASCII */;
} hb_masks;

enum { HB_PLACES = 16 }; /* what hb_write_places writes a step: most of 64 bytes of prose */

/* Compilers see through the masks and turn the 64-bit algebra on them back into vectors, three times slower.
 * An empty instruction that "changes" the mask keeps them from it. */
static inline uint64_t hb_opaque(uint64_t mask) {
    __asm__("" : "+r"(mask));
    return mask;
}

static inline hb_masks hb_opaque_masks(hb_masks masks) {
    const uint64_t blanks = hb_opaque(masks.blanks);
    return (hb_masks){hb_opaque(masks.letters),         hb_opaque(masks.digits),      blanks,
                      hb_opaque(masks.spaces) | blanks, hb_opaque(masks.apostrophes), hb_opaque(masks.high)};
}

#if defined(__x86_64__)
#define HB_X86 1
#define HB_HAS_BLOCKS 1
#include <immintrin.h>

/* Bytes from `low` to `low + span`, unsigned: x - low <= span, and a <= b where min(a, b) == a. */
#define HB_BETWEEN(vector, low, span, set1, sub, min, eq) \
    eq(min(sub(vector, set1((char)(low))), set1((char)(span))), sub(vector, set1((char)(low))))

#define HB_BETWEEN_16(v, low, span) \
    HB_BETWEEN(v, low, span, _mm_set1_epi8, _mm_sub_epi8, _mm_min_epu8, _mm_cmpeq_epi8)
#define HB_BETWEEN_32(v, low, span) \
    HB_BETWEEN(v, low, span, _mm256_set1_epi8, _mm256_sub_epi8, _mm256_min_epu8, _mm256_cmpeq_epi8)

static inline hb_masks hb_masks_sse2(const uint8_t *at) {
    hb_masks masks = {0, 0, 0, 0, 0, 0};
    for (int part = 0; part < 64; part += 16) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(at + part));
        const __m128i lower = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
#define HB_MASK(comparison) ((uint64_t)(uint32_t)_mm_movemask_epi8(comparison) << part)
        masks.letters |= HB_MASK(HB_BETWEEN_16(lower, 'a', 25));
        masks.digits |= HB_MASK(HB_BETWEEN_16(bytes, '0', 9));
        masks.blanks |= HB_MASK(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(' ')));
        masks.spaces |= HB_MASK(HB_BETWEEN_16(bytes, '\t', 4));
        masks.apostrophes |= HB_MASK(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\'')));
        masks.high |= HB_MASK(bytes);
#undef HB_MASK
    }
    return masks;
}

#define HB_FOR_AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
HB_FOR_AVX2 static inline hb_masks hb_masks_avx2(const uint8_t *at) {
    hb_masks masks = {0, 0, 0, 0, 0, 0};
    for (int part = 0; part < 64; part += 32) {
        const __m256i bytes = _mm256_loadu_si256((const __m256i *)(at + part));
        const __m256i lower = _mm256_or_si256(bytes, _mm256_set1_epi8(0x20));
#define HB_MASK(comparison) ((uint64_t)(uint32_t)_mm256_movemask_epi8(comparison) << part)
        masks.letters |= HB_MASK(HB_BETWEEN_32(lower, 'a', 25));
        masks.digits |= HB_MASK(HB_BETWEEN_32(bytes, '0', 9));
        masks.blanks |= HB_MASK(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(' ')));
        masks.spaces |= HB_MASK(HB_BETWEEN_32(bytes, '\t', 4));
        masks.apostrophes |= HB_MASK(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\'')));
        masks.high |= HB_MASK(bytes);
#undef HB_MASK
    }
    return masks;
}

#define HB_FOR_AVX512 \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi,bmi2,lzcnt,popcnt")))
HB_FOR_AVX512 static inline hb_masks hb_masks_avx512(const uint8_t *at) {
    const __m512i bytes = _mm512_loadu_si512(at);
    const __m512i lower = _mm512_or_si512(bytes, _mm512_set1_epi8(0x20));
#define HB_BETWEEN_64(v, low, span) \
    _mm512_cmple_epu8_mask(_mm512_sub_epi8(v, _mm512_set1_epi8(low)), _mm512_set1_epi8(span))
    return (hb_masks){HB_BETWEEN_64(lower, 'a', 25),
                      HB_BETWEEN_64(bytes, '0', 9),
                      _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(' ')),
                      HB_BETWEEN_64(bytes, '\t', 4),
                      _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('\'')),
                      _mm512_movepi8_mask(bytes)};
#undef HB_BETWEEN_64
}

/* hb_write_places with AVX-512: the numbers of the bits that are set, then 24 addresses a step, because
 * a third of all blocks have more than 16. */
HB_FOR_AVX512 static inline void hb_write_places_avx512(const uint8_t **places, const uint8_t *from, uint64_t mask,
                                                    int64_t num_places) {
    static const uint8_t numbers[64] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                        16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
                                        32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47,
                                        48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
    __m512i set = _mm512_maskz_compress_epi8(mask, _mm512_loadu_si512(numbers));
    const __m512i base = _mm512_set1_epi64((int64_t)(uintptr_t)from);
    int64_t i = 0;
    do {
        const __m128i first = _mm512_castsi512_si128(set);
        _mm512_storeu_si512(places + i, _mm512_add_epi64(base, _mm512_cvtepu8_epi64(first)));
        _mm512_storeu_si512(places + i + 8, _mm512_add_epi64(base, _mm512_cvtepu8_epi64(_mm_bsrli_si128(first, 8))));
        const __m128i third = _mm512_extracti32x4_epi32(set, 1);
        _mm512_storeu_si512(places + i + 16, _mm512_add_epi64(base, _mm512_cvtepu8_epi64(third)));
        set = _mm512_alignr_epi64(_mm512_setzero_si512(), set, 3);
        i += 24;
    } while (i < num_places);
}

#elif defined(__aarch64__)
#define HB_ARM 1
#define HB_HAS_BLOCKS 1
#include <arm_neon.h>

/* NEON has no movemask: keep one bit a byte, and add neighbours until 8 bytes are one. */
static inline uint64_t hb_neon_mask(const uint8x16_t parts[4]) {
    static const uint8_t bits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t bit = vld1q_u8(bits);
    const uint8x16_t first = vpaddq_u8(vandq_u8(parts[0], bit), vandq_u8(parts[1], bit));
    const uint8x16_t second = vpaddq_u8(vandq_u8(parts[2], bit), vandq_u8(parts[3], bit));
    const uint8x16_t both = vpaddq_u8(first, second);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(both, both)), 0);
}

static inline uint8x16_t hb_neon_between(uint8x16_t bytes, uint8_t low, uint8_t span) {
    return vcleq_u8(vsubq_u8(bytes, vdupq_n_u8(low)), vdupq_n_u8(span));
}

static inline hb_masks hb_masks_neon(const uint8_t *at) {
    uint8x16_t letters[4], digits[4], blanks[4], spaces[4], apostrophes[4], high[4];
    for (int part = 0; part < 4; part++) {
        const uint8x16_t bytes = vld1q_u8(at + 16 * part);
        letters[part] = hb_neon_between(vorrq_u8(bytes, vdupq_n_u8(0x20)), 'a', 25);
        digits[part] = hb_neon_between(bytes, '0', 9);
        blanks[part] = vceqq_u8(bytes, vdupq_n_u8(' '));
        spaces[part] = hb_neon_between(bytes, '\t', 4);
        apostrophes[part] = vceqq_u8(bytes, vdupq_n_u8('\''));
        high[part] = vcgeq_u8(bytes, vdupq_n_u8(0x80));
    }
    const hb_masks masks = {hb_neon_mask(letters), hb_neon_mask(digits),      hb_neon_mask(blanks),
                            hb_neon_mask(spaces),  hb_neon_mask(apostrophes), hb_neon_mask(high)};
    return masks;
}
#endif

/* The address of each bit of `mask`, bit i at from + i, into places[0 .. num_places - 1], `num_places` being the
 * first bits wanted; writes up to HB_PLACES more. So many a step that one nearly always does, some of them for
 * nothing: cheaper than a branch for each. */
static inline void hb_write_places(const uint8_t **places, const uint8_t *from, uint64_t mask, int64_t num_places) {
    int64_t i = 0;
    do {
        for (const int64_t last = i + HB_PLACES; i < last; i++) {
            places[i] = from + __builtin_ctzll(mask | UINT64_C(1) << 63);
            mask &= mask - 1;
        }
    } while (i < num_places);
}

#endif
