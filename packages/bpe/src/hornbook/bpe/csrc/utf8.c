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

int64_t hb_valid_prefix(const uint8_t *text, int64_t size) {
    const uint8_t *at = text, *const end = text + size;
    while (at < end) {
        uint64_t eight;
        while (end - at >= 8 && (memcpy(&eight, at, 8), (eight & 0x8080808080808080u) == 0)) at += 8;
        if (at == end) break;
        const int length = character_size(at, end);
        if (length == 0) break;
        at += length;
    }
    return at - text;
}
