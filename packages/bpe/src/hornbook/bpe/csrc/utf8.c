/* Is it UTF-8? (Unicode, table 3-7: well-formed byte sequences.) */
#include "bpe.h"

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

int64_t hb_valid_prefix(const uint8_t *text, int64_t size) {
    const uint8_t *at = text, *const end = text + size;
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
    return at - text;
}
