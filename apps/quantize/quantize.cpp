// Quantizes an array in a .npy file with a gradient codec; --help lists the options.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/quantize/array.h"
#include "apps/quantize/options.h"
#include "data/npy.h"
#include "engine/atomic_file.h"
#include "engine/backend.h"
#include "engine/error.h"
#include "engine/input_file.h"
#include "engine/program.h"
#include "quant/codec_options.h"
#include "quant/entropy.h"
#include "quant/stream.h"

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
            {"bits_per_element", 8.0 * static_cast<double>(result.packed_bytes) / count},
            {"bits_per_element_entropy_coded", 8.0 * static_cast<double>(result.entropy_bytes) / count},
            {"variance", result.variance},
            {"mean_squared_error", result.squared_error / count},
            {"relative_error",
             result.squared_norm > 0.0 ? std::sqrt(result.squared_error / result.squared_norm) : 0.0},
            {"seconds", result.seconds},
            {"gigabytes_per_second", kBytes * count / result.seconds * 1e-9}};
}

void print_line(const char* name, const std::string& text) {
    fmt::print("{:<22}{}\n", name, text);
}

void print(const Json& measured) {
    const auto number = [&measured](const char* key) { return measured[key].get<double>(); };
    print_line("elements", measured["elements"].dump());
    if (measured["steps"] != 1) print_line("steps", measured["steps"].dump());
    print_line("buckets", measured["buckets"].dump());
    print_line("bits per element",
               fmt::format("{:.4f}   packed, with all headers", number("bits_per_element")));
    print_line("", fmt::format("{:.4f}   entropy-coded", number("bits_per_element_entropy_coded")));
    print_line("variance", fmt::format("{:.6g}   sum of (x-l)(r-x)", number("variance")));
    print_line("mean squared error", fmt::format("{:.6g}", number("mean_squared_error")));
    print_line("relative error", fmt::format("{:.6g}   |q-x| / |x|", number("relative_error")));
    print_line("seconds", fmt::format("{:.3g}", number("seconds")));
    print_line("GB/s", fmt::format("{:.3g}   8 bytes an element", number("gigabytes_per_second")));
}

// Where a file is asked for, opened: what cannot be written is better known before the work.
std::optional<AtomicFile> open_if_named(const std::string& path) {
    return path.empty() ? std::nullopt : std::optional<AtomicFile>(std::in_place, path);
}

// What cannot be written is better known before the work than behind it. Nothing stays open meanwhile, so a
// signal that ends the program leaves no temporary file.
void check_can_be_written(const QuantizeOptions& options) {
    for (const std::string* path : {&options.output, &options.codes, &options.json}) open_if_named(*path);
}

void quantize(const QuantizeOptions& options) {
    const NpyArray array = read_npy(options.input);
    check_array(options, array);
    check_can_be_written(options);
    Context context(parse_device(options.device), static_cast<int>(options.threads));
    const std::int64_t steps = options.steps_along_first_axis ? array.shape[0] : 1;
    QuantizedArray result = quantize_array(context, options.codec, array.values, steps);
    if (options.entropy_coding) result.stream = compress_stream(context, result.stream);
    const Json measured = measurements(result, steps);
    AtomicFile output(options.output);
    std::optional<AtomicFile> codes = open_if_named(options.codes), json = open_if_named(options.json);
    write_npy(output, array.shape, result.values);
    if (codes) codes->write(result.stream);
    if (json)
        json->write(Json{{"options", options_in_json(options)},
                         {"shape", array.shape},
                         {"measured", measured},
                         {"device", backend(context.device()).description()}}
                        .dump(2) +
                    "\n");
    // Whatever fails has failed by now, but for a disk that refuses at the very end.
    output.commit();
    if (codes) codes->commit();
    if (json) json->commit();
    print(measured);
}

void decode(const QuantizeOptions& options) {
    const InputFile file(options.decode);
    std::vector<std::byte> stream(file.size());
    file.read(0, stream);
    check_can_be_written(options);
    const Context context(Device{}, static_cast<int>(options.threads));
    std::vector<float> values;
    try {
        values = decode_stream(context, stream);
    } catch (const Error& error) {
        fail_run("{}: {}", options.decode, error.what());
    }
    const StreamHeader header = read_stream_header(stream);
    AtomicFile output(options.output);
    write_npy(output, std::array{header.elements}, values);
    output.commit();
    print_line("codec", name_of(header.kind));
    print_line("elements", fmt::format("{}", header.elements));
    print_line("bits per element", fmt::format("{:.4f}   {}, with all headers", header.bits_per_element(),
                                               header.entropy_coded ? "entropy-coded" : "packed"));
    print_line("seed, step", fmt::format("{}, {}", header.seed, header.step));
}

int run(const std::vector<std::string>& arguments) {
    const QuantizeOptions options = parse_quantize_options(arguments);
    if (!options.help.empty())
        fmt::print("{}", options.help);
    else if (options.decode.empty())
        quantize(options);
    else
        decode(options);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    return qstep::program_main("quantize", argc, argv, run);
}
