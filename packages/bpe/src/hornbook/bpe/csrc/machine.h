/* Inside the core: what the running machine can execute.
 *
 * Functions that come in several forms, one for each instruction set, are chosen by number: 0 for plain C, a higher
 * one for each faster set that the core knows on this kind of machine; -1 for the fastest one it can execute.
 *
 * __builtin_cpu_supports would say it in one line, but compiled by zig it always says no.
 */
#ifndef HORNBOOK_MACHINE_H
#define HORNBOOK_MACHINE_H

#include "bpe.h"

#if defined(__x86_64__)
#include <cpuid.h>

enum { HB_PLAIN, HB_SSE2, HB_AVX2, HB_AVX512 };

/* Bits of ebx of leaf 7 that must all be there, bits of ecx, and the registers the operating system must keep. */
static inline int hb_machine_has(unsigned wanted_ebx, unsigned wanted_ecx, unsigned wanted_registers) {
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return 0;
    const unsigned basic = bit_OSXSAVE | bit_AVX | bit_POPCNT;
    if ((ecx & basic) != basic) return 0;
    unsigned kept, unused;
    __asm__ volatile("xgetbv" : "=a"(kept), "=d"(unused) : "c"(0));
    if ((kept & wanted_registers) != wanted_registers) return 0;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return 0;
    if ((ebx & wanted_ebx) != wanted_ebx || (ecx & wanted_ecx) != wanted_ecx) return 0;
    return __get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) && (ecx & bit_LZCNT);
}

/* All that HB_FOR_AVX2 of simd.h lets the compiler use. */
static inline int hb_machine_has_avx2(void) { return hb_machine_has(bit_AVX2 | bit_BMI | bit_BMI2, 0, 0x06); }

/* All that HB_FOR_AVX512 of simd.h lets the compiler use. */
static inline int hb_machine_has_avx512(void) {
    const unsigned vbmi = 1u << 1 | 1u << 6; /* and VBMI2; named differently from compiler to compiler */
    const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    return hb_machine_has(avx512 | bit_AVX2 | bit_BMI | bit_BMI2, vbmi, 0xE6);
}

static inline int hb_fastest(void) {
    return hb_machine_has_avx512() ? HB_AVX512 : hb_machine_has_avx2() ? HB_AVX2 : HB_SSE2;
}
#elif defined(__aarch64__)
enum { HB_PLAIN, HB_NEON };
static inline int hb_fastest(void) { return HB_NEON; }
#else
enum { HB_PLAIN };
static inline int hb_fastest(void) { return HB_PLAIN; }
#endif

/* The number to choose by: `wanted`, or the fastest where it is -1; -1 if the machine can't execute it. */
static inline int hb_choose(int32_t wanted) {
    const int fastest = hb_fastest();
    return wanted > fastest ? -1 : wanted < 0 ? fastest : (int)wanted;
}

#endif
