// Reader of CIFAR-10 in its binary version (Krizhevsky, "Learning multiple layers of features from tiny
// images", 2009): six files of 3073-byte records, each a label byte and 1024 red, green and blue bytes.
#pragma once

#include <filesystem>

#include "data/dataset.h"

namespace qstep {

/// Reads data_batch_1.bin to data_batch_5.bin (one after the other: the training set) and test_batch.bin from
/// `folder` or, where none of them lies there, from `folder`/cifar-10-batches-bin. A file may hold any whole
/// number of records from one up. All or nothing: throws a run error of one sentence that names the file when
/// the folder or a file is missing, unreadable, empty, not a whole number of records, changed while it was
/// read, or holds a label above 9.
DataSplits read_cifar10(const std::filesystem::path& folder);

/// Whether any of the six files lies where read_cifar10 would look for it. Never throws.
bool has_cifar10_files(const std::filesystem::path& folder);

}  // namespace qstep
