/* The C core of hornbook.bpe: every function that Python calls, and what all files share.
 *
 * Plain C11 behind a plain ABI: no Python header, no state outside the handles that *_new returns. A handle
 * may be used by one thread at a time; what is const may be used by many. Texts are passed as
 * address and size; nothing is read outside them. Pretokens in arrays lie one after another, each ends at ends[i],
 * and none is empty. Functions that can run out of memory say how they report it.
 */
#ifndef HORNBOOK_BPE_H
#define HORNBOOK_BPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the core takes bytes and words to lie in the same order; pure Python serves other machines"
#endif

#if defined(_WIN32)
#define HB_API __declspec(dllexport)
#else
#define HB_API __attribute__((visibility("default")))
#endif

#define HB_NOINLINE __attribute__((noinline)) /* what is rare stays out of a hot loop's registers */

#define HB_OUT_OF_MEMORY (-1)
#define HB_NOT_UTF8 (-1000) /* below all other errors */

/* Raised with every change of what stands below: Python refuses a library built from other sources. */
#define HB_ABI_VERSION 5

/* version.c: what is loaded, and which instructions it uses. Functions that come in several forms take the number of
 * one as `simd`: -1 for the fastest, others for tests (see machine.h). */
HB_API int32_t hb_abi_version(void);
HB_API const char *hb_version(void);
HB_API const char *hb_unicode_version(void);
HB_API const char *hb_simd(void);

/* utf8.c */
HB_API int64_t hb_valid_prefix(const uint8_t *text, int64_t size, int32_t simd);

/* special.c: finds special tokens in text, the leftmost first and of several there the longest. */
typedef struct hb_specials hb_specials;
HB_API hb_specials *hb_specials_new(const uint8_t *data, const int64_t *ends, int64_t num_tokens);
HB_API void hb_specials_free(hb_specials *specials);

/* scan.c: GPT-2's pretokens. */
HB_API int64_t hb_scan(const uint8_t *text, int64_t size, int64_t *ends, int32_t simd);

/* count.c: how often each pretoken occurs. */
typedef struct hb_counter hb_counter;
HB_API hb_counter *hb_counter_new(const uint64_t *hash_key, int32_t simd);
HB_API int32_t hb_count_text(hb_counter *counter, const hb_specials *specials, const uint8_t *text, int64_t size);
HB_API int32_t hb_count_words(hb_counter *counter, const uint8_t *data, const int64_t *ends,
                              const int64_t *counts, int64_t num_words);
HB_API void hb_counter_size(const hb_counter *counter, int64_t *num_words, int64_t *num_bytes);
HB_API void hb_counter_words(const hb_counter *counter, uint8_t *data, int64_t *ends, int64_t *counts);
HB_API void hb_counter_free(hb_counter *counter);

/* order.c: what was counted, in ascending order. */
HB_API void hb_counter_sort(hb_counter *counter);
HB_API int64_t hb_sorted_words(hb_counter *const *counters, int64_t num_counters, uint8_t *data, int64_t *ends,
                               int64_t *counts);
HB_API int64_t hb_ascending_words(const uint8_t *data, const int64_t *ends, int64_t num_words);

/* apply.c: the merges of a tokenizer, ready to be applied. */
typedef struct hb_merges hb_merges;
HB_API hb_merges *hb_merges_new(const int32_t *byte_ids, const int32_t *pairs, const int32_t *products,
                                int64_t num_merges, const uint64_t *hash_key);
HB_API void hb_merges_free(hb_merges *merges);

/* encode.c: text to ids, remembering the ids of pretokens. */
typedef struct hb_encoder hb_encoder;
HB_API hb_encoder *hb_encoder_new(const hb_merges *merges, int32_t id_bytes, int64_t max_entries,
                                  const uint64_t *hash_key, int32_t simd);
HB_API int64_t hb_encode_text(hb_encoder *encoder, const hb_specials *specials, const int32_t *special_ids,
                              const uint8_t *text, int64_t size, void *ids);
HB_API int64_t hb_encode_words(hb_encoder *encoder, const uint8_t *data, const int64_t *ends, int64_t num_words,
                               void *ids);
HB_API void hb_encoder_free(hb_encoder *encoder);

/* decode.c: ids to bytes. */
HB_API int64_t hb_decoded_size(const int64_t *ends, int64_t num_tokens, const uint32_t *ids, int64_t num_ids);
HB_API void hb_decode(const uint8_t *data, const int64_t *ends, const uint32_t *ids, int64_t num_ids, uint8_t *out);

/* learn.c: merges from counted words. */
typedef struct hb_learner hb_learner;
HB_API hb_learner *hb_learner_new(const uint8_t *data, const int64_t *ends, const int64_t *counts,
                                  int64_t num_words, int64_t max_merges, int32_t tie_break);
HB_API int64_t hb_learner_run(hb_learner *learner, int64_t num_more);
HB_API void hb_learner_merges(const hb_learner *learner, int32_t *pairs);
HB_API void hb_learner_free(hb_learner *learner);

#endif
