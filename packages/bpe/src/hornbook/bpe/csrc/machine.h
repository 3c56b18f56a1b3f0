/* What the running machine can execute.
 *
 * __builtin_cpu_supports would say it in one line, but compiled by zig it always says no.
 */
#ifndef HORNBOOK_MACHINE_H
#define HORNBOOK_MACHINE_H

#if defined(__x86_64__)
#include <cpuid.h>

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

/* All that HB_AVX2 of simd.h lets the compiler use. */
static inline int hb_machine_has_avx2(void) { return hb_machine_has(bit_AVX2 | bit_BMI | bit_BMI2, 0, 0x06); }

/* All that HB_AVX512 of simd.h lets the compiler use. */
static inline int hb_machine_has_avx512(void) {
    const unsigned bit_vbmi2 = 1u << 6; /* named differently from compiler to compiler */
    return hb_machine_has(bit_AVX512F | bit_AVX512BW | bit_AVX2 | bit_BMI | bit_BMI2, bit_vbmi2, 0xE6);
}
#endif

#endif
