/* Inside the core: memory for what is big and read at random. */
#ifndef HORNBOOK_PAGES_H
#define HORNBOOK_PAGES_H

#include "bpe.h"

/* Zeros; NULL: out of memory. */
void *hb_pages_new(size_t num_bytes);
/* `num_bytes` as they were asked for; `memory` may be NULL. */
void hb_pages_free(void *memory, size_t num_bytes);

#endif
