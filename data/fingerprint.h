// What tells one data set from another without keeping it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "data/dataset.h"

namespace qstep {

/// XXH64 of the bytes (Collet, "xxHash fast digest algorithm", version 0.1.1), the same on every machine. It
/// finds accidents; somebody who wants two sets with one hash can make them.
std::uint64_t xxh64(std::span<const std::uint8_t> bytes, std::uint64_t seed);

/// Two hashes of 16 hexadecimal digits with a hyphen between them, one of the training set and one of the
/// test set: h = xxh64(images, xxh64(labels, 0)). Names do not count.
std::string fingerprint(const DataSplits& splits);

}  // namespace qstep
