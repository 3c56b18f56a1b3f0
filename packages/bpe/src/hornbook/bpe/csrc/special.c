/* Finds special tokens in text: by their first byte, then by comparing. */
#include "special.h"

#include <stdlib.h>

typedef struct {
    const uint8_t *bytes;
    int64_t size, index;
} token;

struct hb_specials {
    token *tokens;  /* sorted: those with one first byte together, the longest first */
    int64_t num_tokens;
    int32_t first[257]; /* tokens[first[b]] to tokens[first[b + 1] - 1] start with byte b */
    int32_t only_byte;  /* the first byte of all of them; -1 if they differ */
    uint8_t *data;
};

static int compare(const void *left, const void *right) {
    const token *a = left, *b = right;
    if (a->bytes[0] != b->bytes[0]) return a->bytes[0] < b->bytes[0] ? -1 : 1;
    return (a->size < b->size) - (a->size > b->size);
}

/* Tokens may not be empty. NULL: out of memory. */
hb_specials *hb_specials_new(const uint8_t *data, const int64_t *ends, int64_t num_tokens) {
    const int64_t num_bytes = num_tokens ? ends[num_tokens - 1] : 0;
    hb_specials *specials = calloc(1, sizeof *specials);
    if (!specials) return NULL;
    specials->tokens = malloc(sizeof(token) * (size_t)(num_tokens + 1));
    specials->data = malloc((size_t)num_bytes + 1);
    if (!specials->tokens || !specials->data) {
        hb_specials_free(specials);
        return NULL;
    }
    if (num_bytes) memcpy(specials->data, data, (size_t)num_bytes);
    specials->num_tokens = num_tokens;
    for (int64_t i = 0; i < num_tokens; i++) {
        const int64_t start = i ? ends[i - 1] : 0;
        specials->tokens[i] = (token){specials->data + start, ends[i] - start, i};
    }
    qsort(specials->tokens, (size_t)num_tokens, sizeof(token), compare);
    int64_t at = 0;
    for (int byte = 0; byte < 256; byte++) {
        specials->first[byte] = (int32_t)at;
        while (at < num_tokens && specials->tokens[at].bytes[0] == byte) at++;
    }
    specials->first[256] = (int32_t)num_tokens;
    const int all_alike = num_tokens && specials->tokens[0].bytes[0] == specials->tokens[num_tokens - 1].bytes[0];
    specials->only_byte = all_alike ? specials->tokens[0].bytes[0] : -1;
    return specials;
}

void hb_specials_free(hb_specials *specials) {
    if (!specials) return;
    free(specials->tokens);
    free(specials->data);
    free(specials);
}

hb_special hb_next_special(const hb_specials *specials, const uint8_t *at, const uint8_t *end) {
    const hb_special none = {end, end, -1};
    if (!specials || !specials->num_tokens) return none;
    for (; at < end; at++) {
        if (specials->only_byte >= 0) {
            at = memchr(at, specials->only_byte, (size_t)(end - at));
            if (!at) return none;
        }
        const int32_t last = specials->first[*at + 1];
        for (int32_t i = specials->first[*at]; i < last; i++) {
            const token *candidate = &specials->tokens[i];
            if (candidate->size <= end - at && !memcmp(at, candidate->bytes, (size_t)candidate->size))
                return (hb_special){at, at + candidate->size, candidate->index};
        }
    }
    return none;
}
