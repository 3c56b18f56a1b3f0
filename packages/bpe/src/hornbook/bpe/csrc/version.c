/* What is loaded: asked by Python before anything else. */
#include "bpe.h"
#include "classes.h"
#include "machine.h"

#ifndef HB_VERSION /* the build names the package's version */
#define HB_VERSION "unknown"
#endif

int32_t hb_abi_version(void) { return HB_ABI_VERSION; }

const char *hb_version(void) { return HB_VERSION; }

const char *hb_unicode_version(void) { return HB_UNICODE_VERSION; }

const char *hb_simd(void) {
#if defined(__x86_64__)
    static const char *const names[] = {"plain", "sse2", "avx2", "avx512"};
#else
    static const char *const names[] = {"plain", "neon"};
#endif
    return names[hb_fastest()];
}
