// What cifar_train does with a parsed command line.
#pragma once

#include <string>

#include "train/command_line.h"

namespace qstep {

/// Trains, resumes, evaluates or dumps a step, printing to standard output. `program`: how the program was
/// called, for the line that says how to resume. Returns the exit status: 0, or 128 + signal number after a
/// signal. Throws usage and run errors.
int run_job(const CommandLine& command_line, const std::string& program);

}  // namespace qstep
