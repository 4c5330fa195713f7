// Names for stretches of work in profilers (NVTX). Without CUDA they cost nothing.
#pragma once

#include <string>

namespace qstep {

/// What the calling thread launches while this lives belongs to `name`; ranges nest. Under a captured step
/// they name what is recorded, not what is replayed: profile with eager steps.
class Range {
  public:
#ifdef QSTEP_WITH_CUDA
    /// Begins the range; the destructor ends it.
    explicit Range(const std::string& name);
    ~Range();
#else
    explicit Range(const std::string&) {}
    ~Range() {}
#endif
    Range(const Range&) = delete;
    Range& operator=(const Range&) = delete;
};

}  // namespace qstep
