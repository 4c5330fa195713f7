// Static division of loops among the context's threads.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "engine/context.h"

namespace qstep::cpu {

/// Below this many elements a second thread costs more than it saves.
constexpr std::int64_t kSerialElements = 8192;

/// Calls body(begin, end) for disjoint ranges that cover 0..count, one a thread, in parallel when
/// `count * cost` exceeds kSerialElements. Bounds are multiples of `unit` (but for the last). The division
/// depends on the number of threads; what is computed for one index must not.
template <typename Body>
void parallel_ranges(const Context& context, std::int64_t count, std::int64_t unit, std::int64_t cost,
                     const Body& body) {
    const std::int64_t units = (count + unit - 1) / unit;
#pragma omp parallel num_threads(context.threads()) if (count * cost > kSerialElements)
    {
        const std::int64_t team = omp_get_num_threads(), member = omp_get_thread_num();
        const std::int64_t begin = units * member / team * unit;
        const std::int64_t end = std::min(count, units * (member + 1) / team * unit);
        if (begin < end) body(begin, end);
    }
}

/// Ranges over the elements of an array, in whole cache lines whatever the type.
template <typename Body>
void parallel_elements(const Context& context, std::int64_t count, const Body& body) {
    parallel_ranges(context, count, 64, 1, body);
}

}  // namespace qstep::cpu
