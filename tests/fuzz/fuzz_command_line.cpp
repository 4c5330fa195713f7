// Fuzz target: a text as a command line, an argument a line; the first line names the program. It is taken or
// refused with a usage error. What cifar_train takes comes back the same from what a checkpoint stores.
#include <string>
#include <vector>

#include "apps/gradient_variance/options.h"
#include "apps/quantize/options.h"
#include "tests/fuzz/fuzz.h"
#include "train/command_line.h"

namespace {

using namespace qstep;
using fuzz::require;

std::vector<std::string> lines(std::string_view text) {
    std::vector<std::string> result;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        // No argument of a program holds a zero byte.
        const std::string_view line = text.substr(0, end);
        result.emplace_back(line.substr(0, line.find('\0')));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return result;
}

void take_training(const std::vector<std::string>& arguments) {
    const CommandLine line = parse_command_line(arguments);
    if (!line.help.empty()) return;
    const nlohmann::ordered_json stored = to_json(line.options, Selection::stored);
    const auto again = nlohmann::ordered_json::parse(stored.dump());
    require(again == stored && !to_json(line.options, Selection::all).dump().empty());
    require(!resume_command("cifar_train", line, "out/checkpoint.safetensors").empty());
    if (line.job() == kTrain || line.job() == kDumpStep) {
        Options options;
        from_json(options, again);
        require(to_json(options, Selection::stored) == stored);
    } else if (line.job() == kResume) {
        options_for_resume(line, to_json(Options{}, Selection::stored));
    } else {
        options_for_evaluation(line, to_json(Options{}, Selection::stored));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::vector<std::string> arguments = lines({reinterpret_cast<const char*>(data), size});
    if (arguments.empty()) return 0;
    const std::string program = arguments.front();
    arguments.erase(arguments.begin());
    fuzz::succeeds(ErrorKind::usage, [&] {
        if (program.starts_with('q')) {
            parse_quantize_options(arguments);
        } else if (program.starts_with('g')) {
            parse_variance_options(arguments);
        } else {
            take_training(arguments);
        }
    });
    return 0;
}
