/* What is loaded: asked by Python before anything else. */
#include "bpe.h"
#include "classes.h"

#ifndef HB_VERSION /* the build names the package's version */
#define HB_VERSION "unknown"
#endif

int32_t hb_abi_version(void) { return HB_ABI_VERSION; }

const char *hb_version(void) { return HB_VERSION; }

const char *hb_unicode_version(void) { return HB_UNICODE_VERSION; }
