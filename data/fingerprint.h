// What tells one data set from another without keeping it.
#pragma once

#include <string>

#include "data/dataset.h"

namespace qstep {

/// Two hashes of 16 hexadecimal digits with a hyphen between them, one of the training set and one of the
/// test set: h = XXH64(images, seed XXH64(labels, seed 0)) (Collet, "xxHash fast digest algorithm", version
/// 0.1.1), the same on every machine. Names do not count. It finds accidents; somebody who wants two sets
/// with one hash can make them.
std::string fingerprint(const DataSplits& splits);

}  // namespace qstep
