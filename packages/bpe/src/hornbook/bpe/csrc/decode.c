/* Ids to bytes: the tokens' bytes lie one after another in `data`, token i ends at ends[i]. */
#include "bpe.h"

/* Bytes that the ids stand for; -1 - i if ids[i] is no token. */
int64_t hb_decoded_size(const int64_t *ends, int64_t num_tokens, const uint32_t *ids, int64_t num_ids) {
    int64_t size = 0;
    for (int64_t i = 0; i < num_ids; i++) {
        if (ids[i] >= num_tokens) return -1 - i;
        size += ends[ids[i]] - (ids[i] ? ends[ids[i] - 1] : 0);
    }
    return size;
}

/* `out` must have the room that hb_decoded_size says. */
void hb_decode(const uint8_t *data, const int64_t *ends, const uint32_t *ids, int64_t num_ids, uint8_t *out) {
    for (int64_t i = 0; i < num_ids; i++) {
        const int64_t start = ids[i] ? ends[ids[i] - 1] : 0, size = ends[ids[i]] - start;
        memcpy(out, data + start, (size_t)size);
        out += size;
    }
}
