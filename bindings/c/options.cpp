#include <algorithm>
#include <functional>
#include <limits>

#include "bindings/c/host_codec.h"
#include "engine/option_values.h"
#include "engine/suggest.h"
#include "quant/codec_options.h"

namespace qstep {

namespace {

using Set = std::function<void(HostCodecOptions&, const std::string&)>;

struct Option {
    std::string name;
    Set set;
};

std::vector<Option> option_table() {
    constexpr std::int64_t kMostThreads = 1024;
    std::vector<Option> table;
    for (const CodecOption& option : codec_options())
        table.push_back({option.name, [&option](HostCodecOptions& options, const std::string& text) {
                             option.set(options.codec, text);
                         }});
    const auto seed =
        whole<std::uint64_t>("seed", &CodecSettings::seed, 0, std::numeric_limits<std::uint64_t>::max());
    table.insert(
        table.end(),
        {{"seed", [seed](HostCodecOptions& options, const std::string& text) { seed(options.codec, text); }},
         {"threads", whole<std::int64_t>("threads", &HostCodecOptions::threads, 0, kMostThreads)},
         {"device",
          [](HostCodecOptions& options, const std::string& text) { options.device = parse_device(text); }},
         {"entropy-coding", flag_into("entropy-coding", &HostCodecOptions::entropy_coding)}});
    return table;
}

}  // namespace

HostCodecOptions parse_host_codec_options(const std::vector<std::pair<std::string, std::string>>& given) {
    const std::vector<Option> table = option_table();
    const std::vector<std::string_view> known = [&table] {
        std::vector<std::string_view> names;
        for (const Option& option : table) names.push_back(option.name);
        return names;
    }();
    HostCodecOptions options;
    std::vector<std::string> names;
    for (const auto& [name, value] : given) {
        const auto option = std::ranges::find(table, name, &Option::name);
        if (option == table.end())
            fail_usage("there is no option \"{}\"; did you mean \"{}\"?", name, nearest_name(name, known));
        if (std::ranges::find(names, name) != names.end()) fail_usage("the option {} is given twice", name);
        option->set(options, value);
        names.push_back(name);
    }
    if (std::ranges::find(names, "quant") == names.end())
        fail_usage("the option quant is missing: {}", fmt::join(codec_names(), ", "));
    validate(options.codec);
    check_meaning(names, options.codec);
    return options;
}

}  // namespace qstep
