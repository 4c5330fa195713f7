// From the text of --data to a training and a test set.
#pragma once

#include <string>
#include <vector>

#include "data/dataset.h"

namespace qstep {

/// An opened data set.
struct DataSource {
    DataSplits splits;
    /// What names the same data from anywhere: an absolute folder, or "synthetic".
    std::string name;
    /// Sentences for the person at the terminal: what is used, and what to know about it. At least one.
    std::vector<std::string> notes;
};

/// `text` is
///   a folder     CIFAR-10 as read_cifar10 finds it there;
///   "synthetic"  make_synthetic();
///   "auto"       the folder in the environment variable CIFAR10_DIR where it is set and not empty; else
///                `data` in the working folder where it holds any of the CIFAR-10 files; else the synthetic
///                set, with a note that says so and how to get CIFAR-10.
/// (A folder of one of these two names is written "./auto".) Throws a run error where the folder named by
/// `text` or by CIFAR10_DIR, or the files in `data`, cannot be used: nothing else is tried then. Throws a
/// usage error for an empty text.
DataSource open_data(const std::string& text);

}  // namespace qstep
