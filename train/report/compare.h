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
/// says so; or prints the help. Throws a usage error for no folder, the same one twice, and an output that is
/// no page of this program; a run error for a folder that is no run's, without a finished epoch, or with
/// broken files.
int compare_runs(const std::vector<std::string>& arguments);

}  // namespace qstep
