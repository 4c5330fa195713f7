#include "data/fingerprint.h"

#include <fmt/format.h>

#define XXH_INLINE_ALL  // the header is all of it: nothing to link
#include <xxhash.h>

namespace qstep {
namespace {

std::string fingerprint_of(const Dataset& dataset) {
    const auto labels = XXH64(dataset.labels.data(), dataset.labels.size(), 0);
    return fmt::format("{:016x}", XXH64(dataset.images.data(), dataset.images.size(), labels));
}

}  // namespace

std::string fingerprint(const DataSplits& splits) {
    return fingerprint_of(splits.train) + "-" + fingerprint_of(splits.test);
}

}  // namespace qstep
