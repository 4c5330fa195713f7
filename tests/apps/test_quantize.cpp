// quantize as a person runs it; what it writes is compared with the codec called here.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "data/npy.h"
#include "engine/error.h"
#include "engine/random.h"
#include "quant/codec.h"
#include "tests/apps/program.h"

namespace qstep {
namespace {

using Extents = std::vector<std::int64_t>;

// Sums of the same numbers, here in another order.
constexpr double kSumTolerance = 1e-12;

class Quantize : public ProgramTest {
  protected:
    Quantize() : ProgramTest(QUANTIZE) { hide_gpus(); }

    void put(const std::string& name, const Extents& shape, const std::vector<float>& values) {
        AtomicFile file(in(name));
        write_npy(file, shape, values);
        file.commit();
    }
    std::vector<float> put_noise(const std::string& name, const Extents& shape) {
        std::int64_t count = 1;
        for (const std::int64_t extent : shape) count *= extent;
        const RandomStream stream{3, Purpose::synthetic_data, 0};
        std::vector<float> values;
        for (std::int64_t i = 0; i < count; ++i)
            values.push_back(static_cast<float>(1e-3 * stream.normal(2 * static_cast<std::uint64_t>(i))));
        put(name, shape, values);
        return values;
    }
    // And no file more than before.
    void expect_failure(const std::string& arguments, int status, const std::string& part) {
        run("--help");  // for the files of its output
        const auto files = file_count();
        ProgramTest::expect_failure(arguments, status, part);
        EXPECT_EQ(file_count(), files) << arguments;
    }
    std::ptrdiff_t file_count() const {
        return std::distance(std::filesystem::directory_iterator(folder_.path()), {});
    }
    nlohmann::json json(const std::string& name) const { return nlohmann::json::parse(read_bytes(in(name))); }
};

// The codec on one gradient.
std::vector<float> quantized(const CodecSettings& settings, std::span<const float> in, std::int64_t step,
                             double* variance = nullptr) {
    Context context(Device{}, 1);
    const auto count = static_cast<std::int64_t>(in.size());
    const auto codec = make_codec(context, settings, count);
    context.workspace().freeze();
    std::vector<float> copy(in.begin(), in.end()), out(in.size());
    double sum = 0.0;
    codec->quantize(context, {out.data(), DType::f32, {count}}, {copy.data(), DType::f32, {count}},
                    {&step, DType::i64, {1}}, {&sum, DType::f64, {1}});
    if (variance != nullptr) *variance = sum;
    return out;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

TEST_F(Quantize, WritesWhatTheCodecMakes) {
    const std::vector<float> values = put_noise("in.npy", {7, 3, 31});
    for (const std::string codec : {"standard", "smart", "hadamard", "exponential", "none"}) {
        run_well("in.npy out.npy --quant " + codec + " --levels 8 --bucket-size 100 --seed 5");
        CodecSettings settings;
        settings.kind = parse_codec(codec);
        settings.levels = 8;
        settings.bucket_size = 100;
        settings.seed = 5;
        const NpyArray out = read_npy(in("out.npy"));
        EXPECT_EQ(out.shape, (Extents{7, 3, 31}));
        EXPECT_TRUE(same_bits(out.values, quantized(settings, values, 0))) << codec;
    }
}

TEST_F(Quantize, MeasuresWhatItDid) {
    const std::vector<float> values = put_noise("in.npy", {1000});
    const Outcome outcome = run_well("in.npy out.npy --quant standard --bucket-size 64 --json out.json");
    const nlohmann::json whole = json("out.json"), measured = whole["measured"];
    CodecSettings settings;
    settings.kind = CodecKind::standard;
    settings.bucket_size = 64;
    double variance = 0.0, error = 0.0, norm = 0.0;
    const std::vector<float> out = quantized(settings, values, 0, &variance);
    for (std::size_t i = out.size(); i-- > 0;) {
        error += std::pow(double{out[i]} - values[i], 2);
        norm += std::pow(double{values[i]}, 2);
    }
    EXPECT_EQ(whole["shape"], nlohmann::json({1000}));
    EXPECT_EQ(whole["options"]["bucket-size"], 64);
    EXPECT_EQ(whole["options"]["quant"], "standard");
    EXPECT_EQ(measured["elements"], 1000);
    EXPECT_EQ(measured["buckets"], 16);
    EXPECT_EQ(measured["variance"], variance);
    EXPECT_NEAR(measured["mean_squared_error"].get<double>(), error / 1000, kSumTolerance * error / 1000);
    EXPECT_NEAR(measured["relative_error"].get<double>(), std::sqrt(error / norm), kSumTolerance);
    EXPECT_GT(measured["gigabytes_per_second"].get<double>(), 0.0);
    for (const char* part : {"elements", "1000", "buckets", "16", "variance", "mean squared error",
                             "relative error", "seconds", "GB/s"})
        EXPECT_NE(outcome.out.find(part), std::string::npos) << part << "\n" << outcome.out;
}

TEST_F(Quantize, ExactValuesHaveNoError) {
    put("in.npy", {}, {0.25f});
    run_well("in.npy out.npy --quant standard --json out.json");
    EXPECT_EQ(read_npy(in("out.npy")).shape, Extents{});
    EXPECT_EQ(read_npy(in("out.npy")).values, std::vector<float>{0.25f});
    put("zero.npy", {4}, std::vector<float>(4, 0.0f));
    run_well("zero.npy out.npy --quant exponential --json zero.json");
    EXPECT_EQ(json("zero.json")["measured"]["relative_error"], 0.0);
}

TEST_F(Quantize, CodesDecodeToTheSameValues) {
    put_noise("in.npy", {30, 40});
    for (const std::string_view codec : codec_names())
        for (const std::string coding : {"", " --entropy-coding"}) {
            run_well(fmt::format("in.npy out.npy --json out.json --codes codes --quant {}{}", codec, coding));
            const Outcome decoded = run_well("--decode codes again.npy");
            EXPECT_NE(decoded.out.find(codec), std::string::npos) << decoded.out;
            const NpyArray out = read_npy(in("out.npy")), again = read_npy(in("again.npy"));
            EXPECT_EQ(again.shape, Extents{1200});
            EXPECT_TRUE(same_bits(again.values, out.values)) << codec << coding;
            const char* key = coding.empty() ? "bits_per_element" : "bits_per_element_entropy_coded";
            const auto bytes = static_cast<double>(file_size(in("codes")));
            EXPECT_EQ(json("out.json")["measured"][key], 8.0 * bytes / 1200) << codec << coding;
        }
}

TEST_F(Quantize, EntropyCodingSparesBitsOfUnevenCodes) {
    std::vector<float> values(100000, 0.0f);
    for (std::size_t i = 0; i < values.size(); i += 50) values[i] = static_cast<float>(i % 7) - 3.0f;
    put("in.npy", {100000}, values);
    run_well("in.npy out.npy --quant standard --levels 7 --json out.json");
    const nlohmann::json measured = json("out.json")["measured"];
    EXPECT_GT(measured["bits_per_element"], 3.0);
    EXPECT_LT(measured["bits_per_element_entropy_coded"], 1.0);
}

TEST_F(Quantize, RefusesStreamsThatAreNone) {
    put_noise("in.npy", {1000});
    run_well("in.npy out.npy --quant standard --codes codes");
    std::filesystem::remove(in("out.npy"));
    const std::string good = read_bytes(in("codes"));
    for (const std::size_t length : {std::size_t{0}, std::size_t{10}, good.size() - 1}) {
        std::ofstream(in("short"), std::ios::binary) << good.substr(0, length);
        expect_failure("--decode short out.npy", 1, "short: ");
    }
    expect_failure("--decode in.npy out.npy", 1, "in.npy: ");
    expect_failure("--decode absent out.npy", 1, "cannot open absent");
    expect_failure("--decode codes", 2, "takes one file more");
    expect_failure("--decode codes a.npy b.npy", 2, "takes one file more");
    expect_failure("--decode codes codes", 2, "would replace the input");
    expect_failure("--decode codes out.npy --quant standard", 2, "--quant has no meaning with --decode");
    expect_failure("in.npy out.npy --quant standard --entropy-coding", 2, "without --codes");
    expect_failure("in.npy out.npy --quant standard --codes out.npy", 2, "are the same file");
    put_noise("rows.npy", {3, 5});
    expect_failure("rows.npy out.npy --quant standard --steps-along-first-axis --codes c", 2, "one gradient");
}

TEST_F(Quantize, StepsAlongTheFirstAxis) {
    constexpr std::size_t kSteps = 5, kCount = 60;
    const std::vector<float> values = put_noise("in.npy", {kSteps, 6, 10});
    run_well("in.npy out.npy --quant standard --levels 4 --steps-along-first-axis");
    const std::vector<float> out = read_npy(in("out.npy")).values;
    CodecSettings settings;
    settings.kind = CodecKind::standard;
    settings.levels = 4;
    for (std::size_t step = 0; step < kSteps; ++step)
        EXPECT_TRUE(same_bits(std::span(out).subspan(step * kCount, kCount),
                              quantized(settings, std::span(values).subspan(step * kCount, kCount),
                                        static_cast<std::int64_t>(step))))
            << step;
}

// With alpha = beta = 1 nothing is lost: the sum of what was applied lags behind the sum of the gradients by
// one residual, however many steps there were.
TEST_F(Quantize, ErrorFeedbackCarriesTheErrorFromStepToStep) {
    constexpr int kSteps = 200, kCount = 50;
    std::vector<float> values;
    for (int step = 0; step < kSteps; ++step)
        for (int i = 0; i < kCount; ++i) values.push_back(static_cast<float>(i - 20));
    put("in.npy", {kSteps, kCount}, values);
    const auto worst_mean_error = [&](const std::string& option) {
        run_well("in.npy out.npy --quant standard --levels 4 --rounding nearest --steps-along-first-axis" +
                 option);
        const std::vector<float> out = read_npy(in("out.npy")).values;
        double worst = 0.0;
        for (int i = 0; i < kCount; ++i) {
            double sum = 0.0;
            for (int step = 0; step < kSteps; ++step) sum += double{out[step * kCount + i]} - (i - 20);
            worst = std::max(worst, std::abs(sum) / kSteps);
        }
        return worst;
    };
    // Levels 49/3 apart, rounded to the nearest: up to 49/6 off in every step.
    EXPECT_GT(worst_mean_error(""), 7.0);
    EXPECT_LT(worst_mean_error(" --error-feedback"), 0.5);
}

TEST_F(Quantize, RefusesArraysItCannotQuantize) {
    put("empty.npy", {3, 0}, {});
    put("nan.npy", {2, 3}, {1, 2, 3, 4, 5, std::nanf("")});
    put("inf.npy", {3}, {1, -INFINITY, 2});
    put("row.npy", {3}, {1, 2, 3});
    std::ofstream(in("text.npy")) << "1 2 3\n";
    const std::string rest = " out.npy --quant standard";
    expect_failure("empty.npy" + rest, 1, "empty.npy has no elements: its shape is (3, 0)");
    expect_failure("nan.npy" + rest, 1, "nan.npy holds nan at [1, 2]");
    expect_failure("inf.npy" + rest, 1, "inf.npy holds -inf at [1]");
    expect_failure("text.npy" + rest, 1, "text.npy is not a usable .npy file");
    expect_failure("absent.npy" + rest, 1, "cannot open absent.npy");
    expect_failure("row.npy" + rest + " --steps-along-first-axis", 1, "(3,)");
}

TEST_F(Quantize, RefusesCommandLinesWithoutSense) {
    put_noise("in.npy", {10});
    expect_failure("", 2, "two files are needed");
    expect_failure("in.npy --quant standard", 2, "two files are needed");
    expect_failure("in.npy out.npy", 2, "--quant is missing");
    expect_failure("in.npy out.npy more.npy --quant standard", 2, "unexpected argument 'more.npy'");
    expect_failure("in.npy out.npy --quant standart", 2, "did you mean \"standard\"?");
    expect_failure("in.npy out.npy --qaunt standard", 2, "did you mean --quant?");
    expect_failure("in.npy out.npy --quant standard --levels 1", 2, "at least 2 levels");
    expect_failure("in.npy out.npy --quant standard --seed -1", 2, "--seed takes a whole number");
    expect_failure("in.npy out.npy --quant standard --device gpu", 2, "unknown device 'gpu'");
    expect_failure("in.npy out.npy --quant standard --smart-candidates 3", 2, "no meaning");
    expect_failure("in.npy out.npy --quant standard --error-feedback", 2, "--steps-along-first-axis");
}

TEST_F(Quantize, RefusesFilesWithoutAName) {
    put_noise("in.npy", {10});
    for (const std::vector<std::string>& files : {std::vector<std::string>{"", "out.npy"}, {"in.npy", ""}}) {
        const Outcome outcome =
            run_program(QUANTIZE, {files[0], files[1], "--quant", "standard"}, folder_.path());
        EXPECT_EQ(outcome.status, 2);
        EXPECT_EQ(outcome.err, "quantize: the name of a file is empty\n");
    }
}

TEST_F(Quantize, NeverReplacesItsInputOrOneOutputByAnother) {
    put_noise("in.npy", {10});
    std::filesystem::create_symlink("in.npy", in("link.npy"));
    const std::string before = read_bytes(in("in.npy"));
    expect_failure("in.npy in.npy --quant standard", 2, "would replace the input");
    expect_failure("in.npy ./in.npy --quant standard", 2, "would replace the input");
    expect_failure("link.npy in.npy --quant standard", 2, "would replace the input");
    expect_failure("in.npy out.npy --quant standard --json in.npy", 2, "--json would replace the input");
    expect_failure("in.npy out.npy --quant standard --json ./out.npy", 2, "are the same file");
    std::filesystem::copy_file(in("in.npy"), in("x.tmp"));
    expect_failure("x.tmp x --quant standard", 2, "would replace the input x.tmp");
    EXPECT_EQ(read_bytes(in("in.npy")), before);
    EXPECT_EQ(read_bytes(in("x.tmp")), before);
}

TEST_F(Quantize, WhatCannotBeWrittenLeavesTheOldFile) {
    put_noise("in.npy", {10});
    put("out.npy", {1}, {1.0f});
    const std::string before = read_bytes(in("out.npy"));
    expect_failure("in.npy absent/out.npy --quant standard", 1, "cannot write absent/out.npy");
    expect_failure("in.npy out.npy --quant standard --json absent/x.json", 1, "cannot write absent/x.json");
    std::filesystem::create_directory(in("folder"));
    expect_failure("in.npy folder --quant standard", 1, "not a regular file");
    EXPECT_EQ(read_bytes(in("out.npy")), before);
}

// The system ends the program after a second of work, of which this has many.
TEST_F(Quantize, OneThatIsEndedLeavesNoFile) {
    put_noise("in.npy", {4000000});
    const std::string line = std::string(QUANTIZE) +
                             " in.npy out.npy --quant smart --solver exact --levels 256 --bucket-size 8192 "
                             "--codes out.qstp --json out.json";
    const Outcome outcome =
        run_program("/bin/bash", {"-c", "ulimit -c 0; ulimit -S -t 1; exec " + line}, folder_.path());
    EXPECT_EQ(outcome.status, 128 + SIGXCPU) << outcome.out << outcome.err;
    for (const char* name : {"out.npy", "out.npy.tmp", "out.qstp.tmp", "out.json.tmp"})
        EXPECT_FALSE(std::filesystem::exists(in(name))) << name;
}

TEST_F(Quantize, TheDeviceAndThreadsChangeNothing) {
    put_noise("in.npy", {100000});
    run_well("in.npy one.npy --quant smart --bucket-size 5000 --threads 1 --device cpu");
    run_well("in.npy three.npy --quant smart --bucket-size 5000 --threads 3");
    EXPECT_EQ(read_bytes(in("one.npy")), read_bytes(in("three.npy")));
}

}  // namespace
}  // namespace qstep
