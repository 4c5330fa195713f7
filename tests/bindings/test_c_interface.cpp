// The interface in C against the codecs called directly, and what it refuses.
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "bindings/c/qstep.h"
#include "engine/backend.h"
#include "engine/random.h"
#include "quant/codec.h"
#include "quant/stream.h"

namespace qstep {
namespace {

using Options = std::vector<qstep_option>;

class Codec {
  public:
    Codec(std::initializer_list<qstep_option> options) {
        EXPECT_EQ(qstep_codec_create(options.begin(), options.size(), &codec_), QSTEP_OK)
            << qstep_last_error();
    }
    ~Codec() { qstep_codec_destroy(codec_); }
    Codec(const Codec&) = delete;
    Codec& operator=(const Codec&) = delete;
    operator qstep_codec*() const { return codec_; }

  private:
    qstep_codec* codec_ = nullptr;
};

std::vector<float> noise(std::int64_t count, std::uint32_t step = 0) {
    const RandomStream stream{3, Purpose::synthetic_data, step};
    std::vector<float> values;
    for (std::int64_t i = 0; i < count; ++i)
        values.push_back(static_cast<float>(1e-3 * stream.normal(2 * static_cast<std::uint64_t>(i))));
    return values;
}

std::int64_t count_of(const std::vector<float>& values) {
    return static_cast<std::int64_t>(values.size());
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Values and stream of the codec itself.
struct Expected {
    Expected(const CodecSettings& settings, std::vector<float> in, std::int64_t step) : values(in.size()) {
        Context context(Device{}, 1);
        const std::int64_t count = count_of(in);
        const auto codec = make_codec(context, settings, count);
        context.workspace().freeze();
        const Tensor source{in.data(), DType::f32, {count}}, at{&step, DType::i64, {1}},
            sum{&variance, DType::f64, {1}};
        codec->quantize(context, {values.data(), DType::f32, {count}}, source, at, sum);
        Arena arena(Device{}, "test arena");
        arena.allocate(DType::u8, {codec->stream_bytes()});
        arena.commit();
        const Tensor bytes = arena.allocate(DType::u8, {codec->stream_bytes()});
        codec->encode(context, bytes, source, at, sum);
        stream.assign(static_cast<char*>(bytes.data), bytes.bytes());
    }
    std::vector<float> values;
    double variance = 0.0;
    std::string stream;
};

std::vector<float> quantize(qstep_codec* codec, const std::vector<float>& in, std::int64_t step,
                            double* variance = nullptr) {
    std::vector<float> out(in.size());
    EXPECT_EQ(qstep_quantize(codec, in.data(), count_of(in), step, nullptr, out.data(), variance), QSTEP_OK)
        << qstep_last_error();
    return out;
}

std::string encode(qstep_codec* codec, const std::vector<float>& in, std::int64_t step,
                   float* residual = nullptr) {
    std::int64_t room = 0, written = 0;
    EXPECT_EQ(qstep_stream_bytes(codec, count_of(in), &room), QSTEP_OK) << qstep_last_error();
    std::string stream(static_cast<std::size_t>(room), '\0');
    EXPECT_EQ(
        qstep_encode(codec, in.data(), count_of(in), step, residual, stream.data(), room, &written, nullptr),
        QSTEP_OK)
        << qstep_last_error();
    stream.resize(static_cast<std::size_t>(written));
    return stream;
}

std::vector<float> decode(const std::string& stream) {
    std::int64_t count = 0;
    const auto bytes = static_cast<std::int64_t>(stream.size());
    EXPECT_EQ(qstep_stream_elements(stream.data(), bytes, &count), QSTEP_OK) << qstep_last_error();
    std::vector<float> out(static_cast<std::size_t>(count));
    EXPECT_EQ(qstep_decode(stream.data(), bytes, 1, out.data(), count), QSTEP_OK) << qstep_last_error();
    return out;
}

TEST(CInterface, GivesTheBitsOfEveryCodec) {
    const std::vector<float> in = noise(1234);
    for (int number = 0; qstep_codec_name(number) != nullptr; ++number) {
        SCOPED_TRACE(qstep_codec_name(number));
        CodecSettings settings;
        settings.kind = parse_codec(qstep_codec_name(number));
        settings.bucket_size = 100;
        settings.seed = 7;
        const Expected expected(settings, in, 5);
        const Codec codec{{"quant", qstep_codec_name(number)}, {"bucket-size", "100"}, {"seed", "7"}};
        double variance = -1.0;
        EXPECT_TRUE(same_bits(quantize(codec, in, 5, &variance), expected.values));
        EXPECT_EQ(variance, expected.variance);
        const std::string stream = encode(codec, in, 5);
        EXPECT_TRUE(stream == expected.stream);
        EXPECT_TRUE(same_bits(decode(stream), expected.values));
    }
    EXPECT_EQ(qstep_codec_name(static_cast<int>(kCodecCount)), nullptr);
    EXPECT_EQ(qstep_codec_name(-1), nullptr);
}

TEST(CInterface, ChangesLengthAndPlaceOfItsArrays) {
    const Codec codec{{"quant", "smart"}, {"levels", "6"}};
    CodecSettings settings;
    settings.kind = CodecKind::smart;
    settings.levels = 6;
    for (const std::int64_t count : {1, 1000, 17, 5000}) {
        const std::vector<float> in = noise(count);
        const Expected expected(settings, in, 0);
        EXPECT_TRUE(same_bits(quantize(codec, in, 0), expected.values)) << count;
        // An array of floats begins at any multiple of four bytes, and may be its own result.
        std::vector<float> shifted(in.size() + 1);
        std::copy(in.begin(), in.end(), shifted.begin() + 1);
        ASSERT_EQ(qstep_quantize(codec, shifted.data() + 1, count, 0, nullptr, shifted.data() + 1, nullptr),
                  QSTEP_OK);
        EXPECT_TRUE(same_bits({shifted.begin() + 1, shifted.end()}, expected.values)) << count;
    }
}

TEST(CInterface, CarriesTheErrorFromStepToStep) {
    const Codec codec{{"quant", "standard"}, {"levels", "4"}, {"error-feedback", "true"}};
    const Codec plain{{"quant", "standard"}, {"levels", "4"}};
    constexpr std::int64_t kCount = 700;
    std::vector<float> residual(kCount), streamed(kCount), expected(kCount), out(kCount);
    for (std::int64_t step = 0; step < 3; ++step) {
        const std::vector<float> in = noise(kCount, static_cast<std::uint32_t>(step));
        std::vector<float> sum(kCount);
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = in[i] + expected[i];
        const std::vector<float> rounded = quantize(plain, sum, step);
        for (std::size_t i = 0; i < sum.size(); ++i) expected[i] = expected[i] + (in[i] - rounded[i]);
        const std::string stream = encode(codec, in, step, streamed.data());
        ASSERT_EQ(qstep_quantize(codec, in.data(), kCount, step, residual.data(), out.data(), nullptr),
                  QSTEP_OK)
            << qstep_last_error();
        EXPECT_TRUE(same_bits(out, rounded)) << step;
        EXPECT_TRUE(same_bits(residual, expected)) << step;
        EXPECT_TRUE(same_bits(decode(stream), rounded)) << step;
        EXPECT_TRUE(same_bits(streamed, expected)) << step;
    }
}

TEST(CInterface, CodesWithLessWhereThatIsAskedFor) {
    const std::vector<float> in = noise(20000);
    const Codec packed{{"quant", "exponential"}}, coded{{"quant", "exponential"}, {"entropy-coding", "true"}};
    const std::string stream = encode(packed, in, 0), shorter = encode(coded, in, 0);
    EXPECT_LT(shorter.size(), stream.size());
    EXPECT_TRUE(same_bits(decode(shorter), decode(stream)));
}

void expect_refusal(const Options& options, const std::string& part) {
    qstep_codec* codec = nullptr;
    EXPECT_EQ(qstep_codec_create(options.data(), options.size(), &codec), QSTEP_INVALID) << part;
    EXPECT_EQ(codec, nullptr);
    EXPECT_NE(std::string(qstep_last_error()).find(part), std::string::npos) << qstep_last_error();
}

TEST(CInterface, RefusesOptions) {
    expect_refusal({}, "the option quant is missing");
    expect_refusal({{"quant", "standart"}}, "did you mean \"standard\"?");
    expect_refusal({{"quant", "standard"}, {"level", "8"}}, "no option \"level\"; did you mean \"levels\"?");
    expect_refusal({{"quant", "standard"}, {"levels", "1"}}, "standard needs at least 2 levels, got 1");
    expect_refusal({{"quant", "standard"}, {"levels", "65537"}}, "at most 65536 levels");
    expect_refusal({{"quant", "standard"}, {"levels", "many"}}, "levels takes a whole number, not 'many'");
    expect_refusal({{"quant", "standard"}, {"levels", "4"}, {"levels", "4"}}, "given twice");
    expect_refusal({{"quant", "terngrad"}, {"levels", "4"}}, "levels has no meaning without a codec");
    expect_refusal({{"quant", "standard"}, {"bucket-size", "0"}}, "bucket size");
    expect_refusal({{"quant", "standard"}, {"device", "gpu"}}, "gpu");
    expect_refusal({{"quant", "standard"}, {"threads", "-1"}}, "threads takes a whole number from 0 to 1024");
    expect_refusal({{"quant", nullptr}}, "quant is NULL");
    expect_refusal({{nullptr, "standard"}}, "name of an option is NULL");
    EXPECT_EQ(qstep_codec_create(nullptr, 0, nullptr), QSTEP_INVALID);
    qstep_codec_destroy(nullptr);
}

TEST(CInterface, RefusesDevicesThatAreNotThere) {
    const qstep_option options[] = {{"quant", "standard"}, {"device", "cuda:99"}};
    qstep_codec* codec = nullptr;
    EXPECT_EQ(qstep_codec_create(options, 2, &codec), QSTEP_FAILED);
    EXPECT_EQ(codec, nullptr);
    EXPECT_STRNE(qstep_last_error(), "");
}

TEST(CInterface, CarriesArraysToAGpuAndBack) {
    if (device_count(DeviceKind::cuda) == 0) GTEST_SKIP() << "there is no CUDA device";
    const std::vector<float> in = noise(5000);
    for (const char* name : {"standard", "smart", "none"}) {
        const Codec codec{{"quant", name}}, other{{"quant", name}, {"device", "cuda"}};
        EXPECT_TRUE(same_bits(quantize(other, in, 3), quantize(codec, in, 3))) << name;
        EXPECT_TRUE(encode(other, in, 3) == encode(codec, in, 3)) << name;
    }
    const Codec codec{{"quant", "sign"}, {"error-feedback", "true"}},
        other{{"quant", "sign"}, {"error-feedback", "true"}, {"device", "cuda"}};
    std::vector<float> residual(in.size(), 1e-3f), expected = residual;
    EXPECT_TRUE(encode(other, in, 3, residual.data()) == encode(codec, in, 3, expected.data()));
    EXPECT_TRUE(same_bits(residual, expected));
}

// A call that must fail with this status and leaves what it was given alone.
template <typename Call>
void expect_failure(qstep_status status, const std::string& part, const Call& call) {
    EXPECT_EQ(call(), status) << part;
    EXPECT_NE(std::string(qstep_last_error()).find(part), std::string::npos) << qstep_last_error();
}

TEST(CInterface, RefusesArrays) {
    const Codec codec{{"quant", "standard"}}, feedback{{"quant", "standard"}, {"error-feedback", "true"}};
    std::vector<float> in = noise(100), out(100), residual(100);
    const auto call = [&](qstep_codec* with, float* to, float* rest, std::int64_t count = 100,
                          std::int64_t step = 0) {
        return [=, &in] { return qstep_quantize(with, in.data(), count, step, rest, to, nullptr); };
    };
    expect_failure(QSTEP_INVALID, "1 to 2^48 elements here, not 0", call(codec, out.data(), nullptr, 0));
    expect_failure(QSTEP_INVALID, "elements here, not -5", call(codec, out.data(), nullptr, -5));
    expect_failure(QSTEP_INVALID, "elements here",
                   call(codec, out.data(), nullptr, std::numeric_limits<std::int64_t>::max()));
    expect_failure(QSTEP_INVALID, "a step is at least 0", call(codec, out.data(), nullptr, 100, -1));
    expect_failure(QSTEP_INVALID, "the result is NULL", call(codec, nullptr, nullptr));
    expect_failure(QSTEP_INVALID, "the codec is NULL", call(nullptr, out.data(), nullptr));
    expect_failure(QSTEP_INVALID, "without error-feedback", call(codec, out.data(), residual.data()));
    expect_failure(QSTEP_INVALID, "needs the residual", call(feedback, out.data(), nullptr));
    expect_failure(QSTEP_INVALID, "another array", call(feedback, in.data(), residual.data()));
    expect_failure(QSTEP_INVALID, "overlaps the one to quantize", call(codec, in.data() + 1, nullptr, 99));
    expect_failure(QSTEP_INVALID, "overlaps the residual", call(feedback, out.data(), out.data()));
    for (const float wrong :
         {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
        in[42] = wrong;
        expect_failure(QSTEP_FAILED, "at 42; a codec needs finite numbers", call(codec, out.data(), nullptr));
        expect_failure(QSTEP_FAILED, "at 42", call(feedback, out.data(), residual.data()));
    }
    EXPECT_EQ(out, std::vector<float>(100)) << "something was written before everything was checked";
    EXPECT_EQ(residual, std::vector<float>(100));
}

TEST(CInterface, KeepsTheResidualWhereTheSumOverflows) {
    const Codec codec{{"quant", "sign"}, {"error-feedback", "true"}};
    const std::vector<float> in(10, std::numeric_limits<float>::max());
    std::vector<float> residual(10, 0x1p127f), out(10);
    EXPECT_EQ(qstep_quantize(codec, in.data(), 10, 0, residual.data(), out.data(), nullptr), QSTEP_FAILED);
    EXPECT_STREQ(
        qstep_last_error(),
        "the residual of error feedback, which grows on codecs this coarse, is beyond float32; a smaller "
        "ef-alpha or more levels may help");
    EXPECT_EQ(residual, std::vector<float>(10, 0x1p127f));
}

TEST(CInterface, RefusesStreams) {
    const Codec codec{{"quant", "standard"}};
    const std::vector<float> in = noise(100);
    std::string stream = encode(codec, in, 0);
    const auto bytes = static_cast<std::int64_t>(stream.size());
    std::vector<float> out(100);
    std::int64_t count = -1;
    expect_failure(QSTEP_FAILED, "", [&] { return qstep_stream_elements(stream.data(), bytes - 1, &count); });
    expect_failure(QSTEP_FAILED, "", [&] { return qstep_decode(stream.data(), 5, 0, out.data(), 100); });
    expect_failure(QSTEP_INVALID, "100 elements; there is room for 99",
                   [&] { return qstep_decode(stream.data(), bytes, 0, out.data(), 99); });
    expect_failure(QSTEP_INVALID, "stream is NULL",
                   [&] { return qstep_stream_elements(nullptr, 64, &count); });
    std::int64_t written = -1;
    std::vector<char> room(static_cast<std::size_t>(bytes) - 1, 'x');
    expect_failure(QSTEP_INVALID, "there is room for", [&] {
        return qstep_encode(codec, in.data(), 100, 0, nullptr, room.data(), bytes - 1, &written, nullptr);
    });
    EXPECT_EQ(room, std::vector<char>(room.size(), 'x'));
    EXPECT_EQ(written, -1);
    EXPECT_EQ(count, -1);
    EXPECT_EQ(out, std::vector<float>(100));
}

TEST(CInterface, LeavesTheCallersThreadsAlone) {
    omp_set_num_threads(3);
    omp_set_dynamic(1);
    const Codec codec{{"quant", "standard"}, {"threads", "1"}};
    decode(encode(codec, noise(100), 0));
    EXPECT_EQ(omp_get_max_threads(), 3);
    EXPECT_EQ(omp_get_dynamic(), 1);
    omp_set_dynamic(0);
}

// One codec in several threads, with lengths that differ, and errors that are each thread's own.
TEST(CInterface, IsUsedByManyThreads) {
    const Codec codec{{"quant", "standard"}, {"threads", "1"}};
    CodecSettings settings;
    settings.kind = CodecKind::standard;
    std::vector<std::thread> threads;
    for (int member = 0; member < 4; ++member)
        threads.emplace_back([member, &settings, &codec] {
            const std::vector<float> in = noise(600 + 100 * member);
            for (std::int64_t step = 0; step < 10; ++step) {
                EXPECT_TRUE(same_bits(quantize(codec, in, step), Expected(settings, in, step).values));
                const qstep_option wrong[] = {{"quant", "standard"}, {"levels", member % 2 == 0 ? "1" : "0"}};
                qstep_codec* none = nullptr;
                EXPECT_EQ(qstep_codec_create(wrong, 2, &none), QSTEP_INVALID);
                EXPECT_EQ(qstep_last_error(),
                          std::string("standard needs at least 2 levels, got ") + wrong[1].value);
            }
        });
    for (std::thread& thread : threads) thread.join();
}

TEST(CInterface, NamesItsVersion) {
    EXPECT_EQ(qstep_api_version(), QSTEP_API_VERSION);
    EXPECT_STREQ(qstep_version(), PROJECT_VERSION);
}

}  // namespace
}  // namespace qstep
