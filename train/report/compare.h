// cifar_train compare: several runs side by side in one page.
#pragma once

#include <string>
#include <vector>

#include "train/report/run_record.h"

namespace qstep {

/// The page: curves of all runs, a table of their results, and the options in which they differ. At least one
/// run, each with a row at least.
std::string comparison_page(const std::vector<RunRecord>& runs);

/// `arguments`: what stands behind "compare": DIR... --output FILE. Reads the folders, writes the page and
/// says so; or prints the help. Runs without a finished epoch are left out and named. Throws a usage error
/// for no folder, the same one twice, and an output that exists and is no comparison; a run error for a
/// folder that is no run's or has broken files, and where no run is left.
int compare_runs(const std::vector<std::string>& arguments);

}  // namespace qstep
