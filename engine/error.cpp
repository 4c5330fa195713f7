#include "engine/error.h"

#include <string_view>

namespace qstep::detail {

void fail_check(const char* expression, const char* file, int line, const std::string& sentence) {
    std::string_view name(file);
    if (const auto slash = name.rfind('/'); slash != std::string_view::npos) name.remove_prefix(slash + 1);
    throw Error(ErrorKind::internal,
                fmt::format("{} [{} failed at {}:{}]", sentence, expression, name, line));
}

}  // namespace qstep::detail
