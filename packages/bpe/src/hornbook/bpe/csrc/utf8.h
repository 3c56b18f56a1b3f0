/* Inside the core: is it UTF-8? */
#ifndef HORNBOOK_UTF8_H
#define HORNBOOK_UTF8_H

#include "bpe.h"

/* Where the first character of [at, end) that is not well formed begins; `end` if all are. */
typedef const uint8_t *hb_validator(const uint8_t *at, const uint8_t *end);

/* The validator for that number, which the machine must be able to execute (machine.h). */
hb_validator *hb_find_validator(int simd);

#endif
