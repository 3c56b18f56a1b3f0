/* The scanner itself, included by scan.c once for each instruction set.
 *
 * HB_SCANNER names the function, HB_TARGET says for which machine it is compiled. HB_MASKS makes the masks and
 * HB_WRITE_PLACES turns one into addresses; without them it goes character by character.
 */
HB_TARGET static int64_t HB_SCANNER(const uint8_t *at, const uint8_t *end, const uint8_t *readable,
                                    const uint8_t **starts) {
    const uint8_t **next = starts, **const full = starts + HB_BATCH;
    while (at < end && next < full) {
#ifdef HB_MASKS
        /* ASCII, block after block. None waits for the one before: so the processor works on several at once. */
        const uint8_t *const first = at, *block = at;
        *next++ = at;
        while (end - block >= 64 && next < full) {
            const hb_masks masks = hb_opaque_masks(HB_MASKS(block));
            if (masks.high) break;
            int last;
            const uint64_t found = ascii_starts(block, &masks, 64, block == first, &last);
            HB_WRITE_PLACES(next, block, found, __builtin_popcountll(found));
            next += __builtin_popcountll(found);
            block += last;
        }
        /* The end of a text that others follow in memory. */
        if (end - block < 64 && readable - block >= 64 && next < full) {
            const int size = (int)(end - block);
            const hb_masks masks = masks_before(size, hb_opaque_masks(HB_MASKS(block)));
            int last;
            const uint64_t found = ascii_starts(block, &masks, size, block == first, &last);
            if (!masks.high && last >= size - 1) {
                HB_WRITE_PLACES(next, block, found, __builtin_popcountll(found));
                next += __builtin_popcountll(found);
                at = end;
                continue;
            }
        }
        at = *--next; /* where the pretoken of the last start ends isn't known yet: it is left for later */
        if (at > first) continue;
        /* What isn't ASCII, or stands near the end: one block, as far as it is known. */
        const int64_t left = end - at;
        uint8_t tail[64];
        block = at;
        if (left < 64) { /* blanks after the end: white space there goes on, as the pattern sees it */
            memset(tail, ' ', sizeof tail);
            memcpy(tail, at, (size_t)left);
            block = tail;
        }
        hb_masks masks = hb_opaque_masks(HB_MASKS(block));
        uint64_t others = ~(masks.letters | masks.digits | masks.spaces);
        const int known = masks.high ? classify_high(block, &masks, &others) : 64;
        if (known >= 8) {
            const int is_last = left < known;
            uint64_t found = block_starts(block, &masks, others, known, is_last);
            if (is_last) found &= (UINT64_C(1) << left) - 1;
            const int num_found = __builtin_popcountll(found);
            if (is_last || num_found > 1) {
                /* Unless the text ends here, the last start begins the next block. */
                const int num_places = num_found - !is_last;
                HB_WRITE_PLACES(next, at, found, num_places);
                next += num_places;
                at = is_last ? end : at + 63 - __builtin_clzll(found);
                continue;
            }
        }
#else
        (void)readable;
#endif
        *next++ = at;
        at = pretoken_end(at, end);
    }
    *next = at;
    return next - starts;
}

#undef HB_SCANNER
#undef HB_TARGET
#undef HB_MASKS
#undef HB_WRITE_PLACES
