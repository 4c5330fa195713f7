#include "engine/error.h"

#include <string_view>

namespace qstep::detail {

void fail_check(const char* expression, const char* file, int line, const std::string& sentence) {
    const std::string_view path(file), name = path.substr(path.rfind('/') + 1);
    throw Error(ErrorKind::internal,
                fmt::format("{} [{} failed at {}:{}]", sentence, expression, name, line));
}

}  // namespace qstep::detail
