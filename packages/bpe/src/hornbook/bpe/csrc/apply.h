/* Inside the core: merges applied to one pretoken. */
#ifndef HORNBOOK_APPLY_H
#define HORNBOOK_APPLY_H

#include "bpe.h"

/* Memory for one pretoken, used again for the next. */
typedef struct {
    int32_t *ids; /* the result; room for `size` */
    int64_t size;
    struct hb_queue *queue; /* for long pretokens */
} hb_scratch;

void hb_scratch_free(hb_scratch *scratch);

#define HB_MISSING_BYTE (-2) /* and less: -2 - b says that byte b is not in the vocabulary */

/* Puts the ids of the pretoken at `bytes` into scratch->ids; returns how many, HB_OUT_OF_MEMORY, or
 * HB_MISSING_BYTE - b. */
int64_t hb_apply(const hb_merges *merges, hb_scratch *scratch, const uint8_t *bytes, int64_t size);

#endif
