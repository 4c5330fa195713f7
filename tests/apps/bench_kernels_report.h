// Runs a few tiny benchmarks of bench_kernels on a device and checks its report.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "quant/codec.h"
#include "tests/apps/program.h"

namespace qstep {

/// Bytes an element by the headers of kernels/cuda, and elements of one launch.
struct ExpectedTraffic {
    double bytes_per_element, elements;
};
inline const std::map<std::string, ExpectedTraffic> kExpectedTraffic{
    {"codec/standard/bucket:512/quantize/4096", {8, 4096}},
    {"codec/standard/bucket:512/in_place/4096", {8, 4096}},
    {"codec/standard/bucket:512/update/4096", {20, 4096}},
    {"codec/hadamard/bucket:512/update/4096", {20, 4096}},
    {"codec/none/bucket:512/quantize/4096", {8, 4096}},
    // Four bytes, half a byte of code, two floats a bucket and 64 bytes a stream (quant/stream.h).
    {"codec/standard/bucket:512/encode/4096", {4.5 + 8.0 / 512 + 64.0 / 4096, 4096}},
    {"codec/standard/bucket:512/decode/4096", {4.5 + 8.0 / 512 + 64.0 / 4096, 4096}},
    {"relu_backward/f32/4096", {12, 4096}},
    {"relu_backward/bf16/4096", {6, 4096}},
    {"add_backward/f32/4096", {12, 4096}},
    {"convert/f32/4096", {6, 4096}},
    {"sgd_update/f32/4096", {20, 4096}},
    {"end_step", {84, 1}},
};

inline void expect_kernel_report(const std::string& program, const std::string& device) {
    TemporaryFolder folder;
    std::string filter;
    for (const auto& [name, traffic] : kExpectedTraffic) filter += (filter.empty() ? "^" : "|^") + name + "/";
    const Outcome outcome = run_program(program,
                                        {"--device", device, "--threads", "2", "--benchmark_min_time=0.0001",
                                         "--benchmark_out=report.json", "--benchmark_filter=" + filter},
                                        folder.path());
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const auto report = nlohmann::json::parse(read_bytes(folder.path() / "report.json"));
    EXPECT_EQ(report.at("context").at("threads"), "2");
    EXPECT_FALSE(report.at("context").at("device").get<std::string>().empty());
    ASSERT_EQ(report.at("benchmarks").size(), kExpectedTraffic.size());
    for (const auto& entry : report.at("benchmarks")) {
        std::string name = entry.at("name");
        name.resize(name.rfind("/manual_time"));
        const ExpectedTraffic& expected = kExpectedTraffic.at(name);
        EXPECT_EQ(entry.at("elements").get<double>(), expected.elements) << name;
        EXPECT_EQ(entry.at("bytes").get<double>(), expected.elements * expected.bytes_per_element) << name;
        for (const char* rate : {"GB/s", "elements/s", "copy_GB/s", "percent_of_copy"})
            EXPECT_GT(entry.at(rate).get<double>(), 0.0) << name << " " << rate;
        // A machine need not say how large its caches are.
        EXPECT_TRUE(entry.at("label") == "caches" || entry.at("label") == "memory") << name;
        const bool restored = name.find("in_place") != std::string::npos;
        EXPECT_EQ(entry.contains("host_launch_us"), device != "cpu" && !restored) << name;
    }
}

/// Kernels whose weights lie differently on each device run without an error.
inline void expect_weights_to_fit(const std::string& program, const std::string& device) {
    TemporaryFolder folder;
    const Outcome outcome =
        run_program(program,
                    {"--device", device, "--benchmark_min_time=0.0001",
                     "--benchmark_filter=conv2d.*128x8x8x64|linear|weight_copies|weight_gradients"},
                    folder.path());
    EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
}

}  // namespace qstep
