// The order in which an epoch visits the training images.
#pragma once

#include <cstdint>
#include <vector>

namespace qstep {

/// A permutation of 0..count-1, a pure function of (count, seed, epoch): the Fisher-Yates shuffle
/// (Durstenfeld, 1964) in which, for i from count-1 down to 1, element i changes places with element
/// RandomStream{seed, Purpose::epoch_order, epoch}.below(i, i + 1).
/// 0 <= count < 2^31.
std::vector<std::int32_t> epoch_order(std::int64_t count, std::uint64_t seed, std::uint32_t epoch);

}  // namespace qstep
