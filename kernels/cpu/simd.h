// Plain loops compiled for several instruction sets, chosen when the program starts.
#pragma once

/// Marks a function whose loops shall be vectorised for the processor at hand: the compiler makes copies for
/// baseline x86-64, for AVX2 with FMA and for AVX-512, and the loader picks one. Loops in it carry
/// `#pragma omp simd`; what it calls must be inline. Elsewhere (other compilers and processors, sanitizers,
/// whose run-time is not up when the loader picks) it is one ordinary function.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define QSTEP_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define QSTEP_CLONES
#endif
