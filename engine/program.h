// The main() of a program.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace qstep {

/// Runs `body` with the arguments behind the program's name and returns its exit status. An exception becomes
/// one line on standard error, begun with `name`, and status 2 for a usage error, else 1; so does output that
/// could not be written. A file that grows beyond a limit of the system fails as on a full disk.
int program_main(const char* name, int argc, char** argv,
                 const std::function<int(const std::vector<std::string>&)>& body);

}  // namespace qstep
