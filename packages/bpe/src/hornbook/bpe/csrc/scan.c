/* GPT-2's pattern, without a regex engine:
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * Read by hand: a contraction; or a run of letters, of numbers, or of others, with one blank before it if there
 * is one; or white space, whose last character is left to what follows it. Every character starts or
 * continues a pretoken, so the text falls into pretokens without gaps.
 *
 * scan_kernel.h holds the scanner; it is compiled once for each instruction set.
 */
#include "scan.h"

#include "classes.h"
#include "machine.h"
#include "simd.h"

/* Class and size of the character at `at`, in a text known to be UTF-8. */
typedef struct {
    unsigned class, size;
} character;

static inline character character_at(const uint8_t *at) {
    const uint32_t lead = at[0];
    if (lead < 0x80) return (character){hb_class(lead), 1};
    if (lead < 0xE0) return (character){hb_class((lead & 0x1F) << 6 | (at[1] & 0x3F)), 2};
    if (lead < 0xF0)
        return (character){hb_class((lead & 0x0F) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3F)), 3};
    return (character){
        hb_class((lead & 0x07) << 18 | (at[1] & 0x3Fu) << 12 | (at[2] & 0x3Fu) << 6 | (at[3] & 0x3F)), 4};
}

enum { MOST_CONTRACTED = 3 };

/* Size of the contraction that starts with the apostrophe at `at`, 0 if none does. */
static inline int contraction_size(const uint8_t *at, const uint8_t *end) {
    if (end - at < 2) return 0;
    const uint8_t next = at[1];
    if (next == 's' || next == 't' || next == 'm' || next == 'd') return 2;
    if (end - at < 3) return 0;
    const uint8_t third = at[2];
    return (next == 'l' && third == 'l') || ((next == 'v' || next == 'r') && third == 'e') ? 3 : 0;
}

/* End of the pretoken that starts at `at`: the pattern, one character after the other. */
static const uint8_t *pretoken_end(const uint8_t *at, const uint8_t *end) {
    if (*at == '\'') {
        const int size = contraction_size(at, end);
        if (size) return at + size;
    }
    character now = character_at(at);
    if (*at == ' ' && at + 1 < end) {
        const character next = character_at(at + 1);
        if (next.class != HB_SPACE) { /* the blank before a run */
            now = next;
            at++;
        }
    }
    const unsigned class = now.class;
    const uint8_t *const first = at, *last = at;
    for (at += now.size; at < end; at += now.size) {
        now = character_at(at);
        if (now.class != class) {
            /* White space leaves its last character to what follows, unless that is all it has. */
            return class == HB_SPACE && last > first ? last : at;
        }
        last = at;
    }
    return at;
}

#ifdef HB_HAS_BLOCKS
/* Bytes that are no start whatever comes next, if they are no white space. */
static inline uint64_t continuations(const hb_masks *masks, uint64_t others) {
    const uint64_t letters = masks->letters, digits = masks->digits;
    return (letters & letters << 1) | (digits & digits << 1) | (others & others << 1) |
           masks->blanks << 1; /* after a blank: it is the one before the run */
}

/* The masks of the first `size` of 64 bytes, and blanks after them: white space before goes on, as the pattern sees it. */
static inline hb_masks masks_before(int size, hb_masks masks) {
    const uint64_t before = (UINT64_C(1) << size) - 1;
    return (hb_masks){masks.letters & before, masks.digits & before,      masks.blanks | ~before,
                      masks.spaces | ~before, masks.apostrophes & before, masks.high & before};
}

/* Where pretokens start among 64 bytes of ASCII, of which the first and the last are only there to be looked at: the
 * bits 1 to *last of the result. The text has `size` of them. `is_start` says whether one starts with the first byte. */
static inline uint64_t ascii_starts(const uint8_t *at, const hb_masks *masks, int size, int is_start, int *last) {
    const uint64_t letters = masks->letters, digits = masks->digits, spaces = masks->spaces;
    uint64_t starts = ~spaces & ~continuations(masks, ~(letters | digits | spaces));
    starts |= spaces & (~(spaces << 1) | ~(spaces >> 1)); /* first of white space, and the last, left behind */
    *last = 62;
    for (uint64_t left = masks->apostrophes & starts & (is_start ? ~UINT64_C(0) : ~UINT64_C(1)); left; left &= left - 1) {
        const int index = __builtin_ctzll(left);
        if (index + MOST_CONTRACTED > *last) { /* it may end outside: the next block begins before it */
            *last = index - 1;
            break;
        }
        const int contracted = contraction_size(at + index, at + size);
        if (!contracted) continue;
        starts &= ~(UINT64_C(1) << (index + 1));
        starts |= UINT64_C(1) << (index + contracted);
    }
    if (size < 64) starts &= (UINT64_C(1) << size) - 1;
    return starts & ((UINT64_C(2) << *last) - 2);
}

/* Adds the characters that are not ASCII to the masks of their classes. Returns how many of the 64 bytes are
 * then known: the rest begins with a character cut in two, or with white space of several bytes, whose bit
 * algebra would be another. */
static inline int classify_high(const uint8_t *at, hb_masks *masks, uint64_t *others) {
    uint64_t high = masks->high;
    *others &= ~high;
    while (high) {
        const int index = __builtin_ctzll(high);
        const int size = at[index] < 0xE0 ? 2 : at[index] < 0xF0 ? 3 : 4;
        if (index + size > 64) return index;
        const unsigned class = character_at(at + index).class;
        const uint64_t bits = ((UINT64_C(1) << size) - 1) << index;
        if (class == HB_SPACE) return index;
        if (class == HB_LETTER)
            masks->letters |= bits;
        else if (class == HB_NUMBER)
            masks->digits |= bits;
        else
            *others |= bits;
        high &= ~bits;
    }
    return 64;
}

/* Where pretokens start among 64 bytes, of which `known` have a class; bit 0 is a start. Bits that depend on
 * what comes later are left out, unless nothing does: where `is_last`, the text ends among the known bytes. */
static inline uint64_t block_starts(const uint8_t *at, const hb_masks *masks, uint64_t others, int known,
                                    int is_last) {
    const uint64_t spaces = masks->spaces;
    uint64_t starts = ~spaces & ~continuations(masks, others);
    starts |= spaces & (~(spaces << 1) | ~spaces >> 1); /* first of white space, and the last, left behind */
    starts |= 1;
    starts &= (UINT64_C(1) << (known - 1)) - 1; /* the last byte doesn't know its successor */
    uint64_t candidates = masks->apostrophes & starts;
    while (candidates) {
        const int index = __builtin_ctzll(candidates);
        candidates &= candidates - 1;
        if (!is_last && index + 3 > known - 2) return starts & ((UINT64_C(2) << index) - 1);
        const int size = contraction_size(at + index, at + 64);
        if (size) {
            starts &= ~(UINT64_C(1) << (index + 1));
            starts |= UINT64_C(1) << (index + size);
        }
    }
    return starts;
}
#endif

#define HB_SCANNER scan_plain
#define HB_TARGET
#include "scan_kernel.h"

#ifdef HB_X86
#define HB_SCANNER scan_sse2
#define HB_TARGET
#define HB_MASKS hb_masks_sse2
#define HB_WRITE_PLACES hb_write_places
#include "scan_kernel.h"

#define HB_SCANNER scan_avx2
#define HB_TARGET HB_FOR_AVX2
#define HB_MASKS hb_masks_avx2
#define HB_WRITE_PLACES hb_write_places
#include "scan_kernel.h"

#define HB_SCANNER scan_avx512
#define HB_TARGET HB_FOR_AVX512
#define HB_MASKS hb_masks_avx512
#define HB_WRITE_PLACES hb_write_places_avx512
#include "scan_kernel.h"
#endif

#ifdef HB_ARM
#define HB_SCANNER scan_neon
#define HB_TARGET
#define HB_MASKS hb_masks_neon
#define HB_WRITE_PLACES hb_write_places
#include "scan_kernel.h"
#endif

static hb_scanner *const scanners[] = {
    scan_plain,
#ifdef HB_X86
    scan_sse2,
    scan_avx2,
    scan_avx512,
#endif
#ifdef HB_ARM
    scan_neon,
#endif
};

hb_scanner *hb_find_scanner(int simd) { return scanners[simd]; }

/* The ends of all pretokens of valid UTF-8; returns how many, -1 if the machine can't execute that scanner. */
int64_t hb_scan(const uint8_t *text, int64_t size, int64_t *ends, int32_t simd) {
    const int chosen = hb_choose(simd);
    if (chosen < 0) return -1;
    hb_scanner *const scan = scanners[chosen];
    const uint8_t *starts[HB_BATCH_ROOM];
    const uint8_t *at = text, *const end = text + size;
    int64_t num_pretokens = 0;
    while (at < end) {
        const int64_t num_found = scan(at, end, end, starts);
        for (int64_t i = 1; i <= num_found; i++) ends[num_pretokens++] = starts[i] - text;
        at = starts[num_found];
    }
    return num_pretokens;
}
