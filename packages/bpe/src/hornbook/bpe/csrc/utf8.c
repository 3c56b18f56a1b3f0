/* Is it UTF-8? (Unicode, table 3-7: well-formed byte sequences.) */
#include "utf8.h"

#include "machine.h"
#include "simd.h"

static int is_continuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

/* Size of the character at `at`, 0 if it is not well formed. The second byte rules out what is overlong,
 * a surrogate, or above U+10FFFF. */
static int character_size(const uint8_t *at, const uint8_t *end) {
    const int64_t left = end - at;
    const uint8_t lead = at[0];
    if (lead < 0x80) return 1;
    if (lead < 0xC2 || lead > 0xF4) return 0;
    if (left < 2 || !is_continuation(at[1])) return 0;
    if (lead < 0xE0) return 2;
    if (left < 3 || !is_continuation(at[2])) return 0;
    if (lead < 0xF0) {
        if (lead == 0xE0 && at[1] < 0xA0) return 0;
        if (lead == 0xED && at[1] > 0x9F) return 0;
        return 3;
    }
    if (left < 4 || !is_continuation(at[3])) return 0;
    if (lead == 0xF0 && at[1] < 0x90) return 0;
    if (lead == 0xF4 && at[1] > 0x8F) return 0;
    return 4;
}

/* Skips ASCII 32 bytes at a time; stops up to 31 bytes before its end. */
static const uint8_t *skip_ascii(const uint8_t *at, const uint8_t *end) {
    for (uint64_t words[4]; end - at >= 32; at += 32) {
        memcpy(words, at, 32);
        if ((words[0] | words[1] | words[2] | words[3]) & UINT64_C(0x8080808080808080)) break;
    }
    return at;
}

/* Size of the character of two or three bytes that `word` begins with, its first byte the lowest; 0 if it is of
 * another size or not well formed. As character_size, without a branch for each byte. */
static int usual_size(uint64_t word) {
    if ((word & 0xC0C0F0) == 0x8080E0) {
        const uint64_t lead_and_second = word & 0x200F;
        return lead_and_second == 0 || lead_and_second == 0x200D ? 0 : 3; /* overlong, a surrogate */
    }
    return (word & 0xC0E0) == 0x80C0 && (word & 0x1E) ? 2 : 0; /* C0 and C1 would be overlong */
}

static const uint8_t *validate(const uint8_t *at, const uint8_t *end) {
    while (at < end) {
        uint64_t word;
        if (end - at >= 8) {
            memcpy(&word, at, 8);
            const uint64_t high = word & UINT64_C(0x8080808080808080);
            if (!high) {
                at = skip_ascii(at + 8, end);
                continue;
            }
            const int num_ascii = __builtin_ctzll(high) / 8;
            at += num_ascii;
            if (num_ascii > 5) continue; /* what follows isn't all in the word */
            const int length = usual_size(word >> 8 * num_ascii);
            at += length;
            if (length) continue;
        }
        const int length = character_size(at, end);
        if (length == 0) break;
        at += length;
    }
    return at;
}

#ifdef HB_X86
/* How many of 64 bytes, which begin with the start of a character, are whole characters, all well formed; 0 if one is
 * not. Leads say where continuations must stand, and these must be all there are. */
HB_FOR_AVX512 static inline int well_formed_avx512(__m512i bytes) {
#define HB_FROM(low) _mm512_cmpge_epu8_mask(bytes, _mm512_set1_epi8((char)(low)))
#define HB_AFTER(lead) (_mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8((char)(lead))) << 1)
    const uint64_t high = HB_FROM(0x80), leads = HB_FROM(0xC0), of_3 = HB_FROM(0xE0), of_4 = HB_FROM(0xF0);
    const uint64_t from_90 = HB_FROM(0x90), from_a0 = HB_FROM(0xA0);
    uint64_t wrong = (high & ~leads) ^ (leads << 1 | of_3 << 2 | of_4 << 3);
    wrong |= (leads & ~HB_FROM(0xC2)) | HB_FROM(0xF5);
    wrong |= HB_AFTER(0xE0) & ~from_a0; /* overlong */
    wrong |= HB_AFTER(0xED) & from_a0;  /* a surrogate */
    wrong |= HB_AFTER(0xF0) & ~from_90; /* overlong */
    wrong |= HB_AFTER(0xF4) & from_90;  /* above U+10FFFF */
#undef HB_FROM
#undef HB_AFTER
    const uint64_t cut = (leads & UINT64_C(1) << 63) | (of_3 & UINT64_C(1) << 62) | (of_4 & UINT64_C(1) << 61);
    const int size = cut ? __builtin_ctzll(cut) : 64;
    return wrong << (cut ? 63 - size : 0) ? 0 : size; /* what is cut may stand where a continuation must */
}

/* Skips ASCII 256 bytes at a time. */
HB_FOR_AVX512 static inline const uint8_t *skip_ascii_avx512(const uint8_t *at, const uint8_t *end) {
    for (; end - at >= 256; at += 256) {
        const __m512i one = _mm512_or_si512(_mm512_loadu_si512(at), _mm512_loadu_si512(at + 64));
        const __m512i other = _mm512_or_si512(_mm512_loadu_si512(at + 128), _mm512_loadu_si512(at + 192));
        if (_mm512_movepi8_mask(_mm512_or_si512(one, other))) break;
    }
    return at;
}

HB_FOR_AVX512 static const uint8_t *validate_avx512(const uint8_t *at, const uint8_t *end) {
    at = skip_ascii_avx512(at, end);
    while (at < end) {
        const int64_t left = end - at;
        /* The zeros that fill up the last block are characters, too. */
        const __m512i bytes = left >= 64 ? _mm512_loadu_si512(at)
                                         : _mm512_maskz_loadu_epi8((UINT64_C(1) << left) - 1, at);
        if (!_mm512_movepi8_mask(bytes)) {
            at = left > 64 ? skip_ascii_avx512(at + 64, end) : end;
            continue;
        }
        const int size = well_formed_avx512(bytes);
        if (!size) {
            _mm256_zeroupper(); /* what follows is compiled without AVX, and slow while the registers are in use */
            return validate(at, end);
        }
        at = left > size ? at + size : end;
    }
    return end;
}
#endif

hb_validator *hb_find_validator(int simd) {
#ifdef HB_X86
    if (simd == HB_AVX512) return validate_avx512;
#else
    (void)simd;
#endif
    return validate;
}

/* How many bytes at the start are well formed; -1 if the machine can't execute that validator. */
int64_t hb_valid_prefix(const uint8_t *text, int64_t size, int32_t simd) {
    const int chosen = hb_choose(simd);
    return chosen < 0 ? -1 : hb_find_validator(chosen)(text, text + size) - text;
}
