// make_seeds FOLDER: a few small inputs for each fuzz target, made by what writes such files and from the
// tables of options; they go to FOLDER/<target without fuzz_>. The corpus beside this file is its output.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "data/npy.h"
#include "quant/codec_options.h"
#include "quant/entropy.h"
#include "tests/fuzz/small_model.h"
#include "tests/quant/stream_runner.h"
#include "train/checkpoint.h"
#include "train/options.h"

namespace {

using namespace qstep;

void write(const std::filesystem::path& path, std::string_view content) {
    std::ofstream(path, std::ios::binary) << content;
}

std::string_view text_of_bytes(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Streams of each codec, packed and entropy-coded.
void make_streams(const std::filesystem::path& folder) {
    constexpr std::int64_t kElements = 61;
    const Context context(Device{}, 1);
    int number = 0;
    for (const test::Codec& kind : test::kAllCodecs)
        for (const std::int64_t levels : {2, 6}) {
            const auto x = test::gradient_like(kElements);
            const auto stream = test::encode(test::settings_of(kind, kElements / 3, levels), x).stream;
            write(folder / fmt::format("packed_{:02}", number), text_of_bytes(stream));
            write(folder / fmt::format("coded_{:02}", number),
                  text_of_bytes(compress_stream(context, stream)));
            ++number;
        }
}

void make_arrays(const std::filesystem::path& folder) {
    const std::vector<float> values{1.0f, -2.5f, 0.0f, 1e-40f, 3e38f, 7.0f};
    const auto array = [&](const char* name, const std::vector<std::int64_t>& shape, std::size_t count) {
        AtomicFile file(folder / name);
        write_npy(file, shape, std::span(values).first(count));
        file.commit();
    };
    array("matrix", {2, 3}, 6);
    array("vector", {5}, 5);
    array("scalar", {}, 1);
    array("empty", {3, 0}, 0);
    write(folder / "header", "{'descr':'<f4','fortran_order':False,'shape':(1,2L,),}12345678");
    write(folder / "records", "{\"descr\":[('a','<f4')],\"fortran_order\":True,\"shape\":()}");
    const std::string dictionary = "{'fortran_order': True, 'shape': (1,), 'descr': '>f8'}\n";
    write(folder / "version_2", std::string("\x93NUMPY\x02\x00", 8) + static_cast<char>(dictionary.size()) +
                                    std::string(3, '\0') + dictionary + "12345678");
}

void make_checkpoints(const std::filesystem::path& folder) {
    test::SmallModel model;
    Options options;
    options.codec.error_feedback = true;
    options.codec.kind = CodecKind::standard;
    Progress progress;
    progress.data = "100 images";
    save_checkpoint(folder / "start", model.context, model.parameters, options, progress);
    progress.step = 12;
    progress.epoch = 1;
    progress.batch = 2;
    progress.images = 32;
    progress.last = progress.best = EpochMetrics{};
    save_checkpoint(folder / "middle", model.context, model.parameters, options, progress);
    save_model(folder / "model", model.context, model.parameters, options);

    const std::vector<std::byte> data(8);
    std::vector<TensorToWrite> tensors;
    for (const DType dtype : {DType::f32, DType::bf16, DType::u8, DType::i32, DType::i64, DType::f64})
        tensors.push_back({name_of(dtype), dtype, {1}, std::span(data).first(size_of(dtype))});
    tensors.push_back({"none", DType::f32, {2, 0}, {}});
    write_safetensors(folder / "types", {{"a", "b"}}, tensors);
    write(folder / "nothing", std::string("\x02\0\0\0\0\0\0\0{}", 10));
}

/// What fuzz_cifar10 makes six files of; 250: a file that is not there.
void make_data_folders(const std::filesystem::path& folder) {
    const std::string record("\x01\x07", 2);
    const std::string one = std::string("\x01\x00", 2) + record,
                      two = std::string("\x02\x00", 2) + record + record;
    const std::string cut = "\x01\x90" + record, absent("\xfa\x00", 2), empty("\x00\x00", 2);
    const std::string strange = std::string("\x01\x00", 2) + "\x0a\x07";
    const auto repeated = [](const std::string& text, int times) {
        std::string all;
        for (int i = 0; i < times; ++i) all += text;
        return all;
    };
    write(folder / "inner", std::string(1, '\0') + repeated(one, 6));
    write(folder / "outer", "\x01" + repeated(two, 5) + one);
    write(folder / "absent", std::string(1, '\0') + repeated(one, 5) + absent);
    write(folder / "all_absent", "\x01" + repeated(absent, 6));
    write(folder / "empty", std::string(1, '\0') + empty + repeated(two, 5));
    write(folder / "cut", std::string(1, '\0') + repeated(one, 2) + cut + repeated(one, 3));
    write(folder / "label", std::string(1, '\0') + repeated(one, 4) + strange + one);
}

void make_command_lines(const std::filesystem::path& folder) {
    const Options defaults;
    std::string all = "cifar_train\n";
    for (const OptionSpec& spec : option_table()) {
        std::string option = "--" + spec.name + "\n";
        if (!spec.value.empty()) option += (spec.get ? qstep::as_text(spec.get(defaults)) : "file") + "\n";
        write(folder / ("train_" + spec.name), "cifar_train\n" + option);
        if (spec.get && spec.jobs & kTrain) all += option;
    }
    write(folder / "train_all", all);
    for (const std::string_view codec : codec_names())
        write(folder / fmt::format("quantize_{}", codec),
              fmt::format("quantize\nin\nout\n--quant\n{}\n", codec));
    write(folder / "quantize_steps",
          "quantize\nin\nout\n--quant=smart\n--solver=exact\n--steps-along-first-axis\n--error-feedback\n");
    write(folder / "quantize_decode", "quantize\n--decode\nin\nout\n");
    write(folder / "variance",
          "gradient_variance\n--steps\n3\n--codecs\nstandard,smart:smart-candidates=5\n");
    write(folder / "help", "cifar_train\n--help\n");
    write(folder / "resume", "cifar_train\n--resume\na\n--threads=2\n--epochs\n300\n--max-steps\n9\n");
    write(folder / "evaluate", "cifar_train\n--eval=a\n--device\ncpu\n--no-cuda\n");
}

}  // namespace

int main(int argument_count, char** arguments) {
    if (argument_count != 2) return 2;
    const std::pair<const char*, void (*)(const std::filesystem::path&)> makers[] = {
        {"stream", make_streams},
        {"npy", make_arrays},
        {"safetensors", make_checkpoints},
        {"cifar10", make_data_folders},
        {"command_line", make_command_lines}};
    for (const auto& [name, make] : makers) {
        const std::filesystem::path folder = std::filesystem::path(arguments[1]) / name;
        std::filesystem::create_directories(folder);
        make(folder);
    }
    return 0;
}
