// Quantizes an array in a .npy file with a gradient codec; --help lists the options.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/quantize_array.h"
#include "apps/quantize_options.h"
#include "data/npy.h"
#include "engine/atomic_file.h"
#include "engine/backend.h"
#include "engine/error.h"
#include "engine/program.h"
#include "quant/codec_options.h"

namespace {

using namespace qstep;
using Json = nlohmann::ordered_json;

// The element's index along each axis.
std::string place(const std::vector<std::int64_t>& shape, std::int64_t element) {
    std::vector<std::int64_t> index(shape.size());
    for (std::size_t axis = shape.size(); axis-- > 0; element /= shape[axis])
        index[axis] = element % shape[axis];
    return fmt::format("[{}]", fmt::join(index, ", "));
}

void check_array(const QuantizeOptions& options, const NpyArray& array) {
    if (array.values.empty())
        fail_run("{} has no elements: its shape is {}", options.input, to_text(array.shape));
    if (options.steps_along_first_axis && array.shape.size() < 2)
        fail_run("{} has the shape {}; --steps-along-first-axis needs an axis of steps and one of elements",
                 options.input, to_text(array.shape));
    const auto wrong =
        std::ranges::find_if_not(array.values, [](float value) { return std::isfinite(value); });
    if (wrong != array.values.end())
        fail_run("{} holds {} at {}; a codec needs finite numbers", options.input, *wrong,
                 place(array.shape, wrong - array.values.begin()));
}

Json options_in_json(const QuantizeOptions& options) {
    Json json;
    for (const CodecOption& option : codec_options())
        json[option.name] =
            std::visit([](const auto& value) { return Json(value); }, option.get(options.codec));
    json["seed"] = options.codec.seed;
    json["steps-along-first-axis"] = options.steps_along_first_axis;
    return json;
}

// What is printed, by the names it has in JSON.
Json measurements(const QuantizedArray& result, std::int64_t steps) {
    const auto count = static_cast<double>(result.values.size());
    // One read and one write of float32.
    constexpr double kBytes = 2.0 * sizeof(float);
    return {{"elements", result.values.size()},
            {"steps", steps},
            {"buckets", result.buckets},
            {"variance", result.variance},
            {"mean_squared_error", result.squared_error / count},
            {"relative_error",
             result.squared_norm > 0.0 ? std::sqrt(result.squared_error / result.squared_norm) : 0.0},
            {"seconds", result.seconds},
            {"gigabytes_per_second", kBytes * count / result.seconds * 1e-9}};
}

void print(const Json& measured) {
    const auto line = [](const char* name, const std::string& text) { fmt::print("{:<22}{}\n", name, text); };
    const auto number = [&measured](const char* key) { return measured[key].get<double>(); };
    line("elements", measured["elements"].dump());
    if (measured["steps"] != 1) line("steps", measured["steps"].dump());
    line("buckets", measured["buckets"].dump());
    line("variance", fmt::format("{:.6g}   sum of (x-l)(r-x)", number("variance")));
    line("mean squared error", fmt::format("{:.6g}", number("mean_squared_error")));
    line("relative error", fmt::format("{:.6g}   |q-x| / |x|", number("relative_error")));
    line("seconds", fmt::format("{:.3g}", number("seconds")));
    line("GB/s", fmt::format("{:.3g}   8 bytes an element", number("gigabytes_per_second")));
}

int run(const std::vector<std::string>& arguments) {
    const QuantizeOptions options = parse_quantize_options(arguments);
    if (!options.help.empty()) {
        fmt::print("{}", options.help);
        return 0;
    }
    const NpyArray array = read_npy(options.input);
    check_array(options, array);
    // What cannot be written is better known before the work.
    AtomicFile output(options.output);
    std::optional<AtomicFile> json;
    if (!options.json.empty()) json.emplace(options.json);

    Context context(parse_device(options.device), static_cast<int>(options.threads));
    const std::int64_t steps = options.steps_along_first_axis ? array.shape[0] : 1;
    const QuantizedArray result = quantize_array(context, options.codec, array.values, steps);
    const Json measured = measurements(result, steps);
    write_npy(output, array.shape, result.values);
    if (json)
        json->write(Json{{"options", options_in_json(options)},
                         {"shape", array.shape},
                         {"measured", measured},
                         {"device", backend(context.device()).description()}}
                        .dump(2) +
                    "\n");
    output.commit();
    if (json) json->commit();
    print(measured);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    return qstep::program_main("quantize", argc, argv, run);
}
