// Instruction sets that the CPU codecs are compiled for, side by side in one library; the processor decides
// at run time. All give bitwise the same results.
#pragma once

namespace qstep::quant::cpu {

enum class Isa { baseline, avx2, avx512 };

/// Whether this processor has it (baseline: always).
bool supported(Isa isa);
Isa best_isa();

}  // namespace qstep::quant::cpu

// QSTEP_FOR_EACH_ISA(variant): variant(name, attributes) for each instruction set. The attributes make a
// function that is compiled for it, with everything it calls inlined into it: called functions that are not
// inlined are compiled for the baseline.
#if defined(__x86_64__) && defined(__GNUC__)
// clang knows no such preference here and would ignore all of the attribute.
#ifdef __clang__
#define QSTEP_WIDE_VECTORS ""
#else
#define QSTEP_WIDE_VECTORS ",prefer-vector-width=512"
#endif
#define QSTEP_FOR_EACH_ISA(variant)                                                                          \
    variant(baseline, __attribute__((flatten)))                                                              \
        variant(avx2, __attribute__((flatten, target("avx2,bmi,bmi2,lzcnt,f16c,fma")))) variant(             \
            avx512, __attribute__((flatten,                                                                  \
                                   target("avx2,bmi,bmi2,lzcnt,f16c,fma,avx512f,avx512bw,avx512dq,avx512vl," \
                                          "avx512cd" QSTEP_WIDE_VECTORS))))
#else
#define QSTEP_FOR_EACH_ISA(variant) variant(baseline, ) variant(avx2, ) variant(avx512, )
#endif
