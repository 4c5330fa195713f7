#include <gtest/gtest.h>

#include <string>

#include "codec_runner.h"
#include "engine/error.h"
#include "quant/buckets.h"
#include "quant/formulas.h"
#include "quant/parameters.h"

namespace qstep::test {
namespace {

std::string usage_error(const CodecSettings& settings) {
    try {
        validate(settings);
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::usage);
        return error.what();
    }
    return "";
}

TEST(CodecSettings, NamesParseBack) {
    for (const Codec& codec : all_codecs()) EXPECT_EQ(parse_codec(name_of(codec.kind)), codec.kind);
    for (const Norm norm : {Norm::l2, Norm::max}) EXPECT_EQ(parse_norm(name_of(norm)), norm);
    for (const Points points : {Points::even, Points::random})
        EXPECT_EQ(parse_points(name_of(points)), points);
    EXPECT_EQ(parse_rounding("nearest"), Rounding::nearest);
    EXPECT_EQ(parse_rounding("stochastic"), Rounding::stochastic);
}

TEST(CodecSettings, UnknownNameSuggestsTheNearest) {
    for (const auto& [typed, meant] : {std::pair{"standart", "\"standard\""},
                                       {"Smrat", "\"smart\""},
                                       {"hadamrd", "\"hadamard\""},
                                       {"exp", "\"exponential\""},
                                       {"exponentail", "\"exponential\""}}) {
        try {
            parse_codec(typed);
            FAIL() << typed << " was accepted";
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::usage);
            EXPECT_NE(std::string(error.what()).find(meant), std::string::npos) << error.what();
        }
    }
    EXPECT_THROW(parse_rounding("up"), Error);
    EXPECT_THROW(parse_norm("l1"), Error);
    EXPECT_THROW(parse_points("odd"), Error);
}

TEST(CodecSettings, LevelsHaveLimits) {
    for (const Codec& kind : kLossyCodecs) {
        const auto error_of = [&](std::int64_t levels) {
            CodecSettings settings = settings_of(kind);
            settings.levels = levels;
            return usage_error(settings);
        };
        EXPECT_EQ(error_of(16), "");
        EXPECT_EQ(error_of(2).empty(), !(kind == CodecKind::qsgd)) << name_of(kind);
        for (const std::int64_t bad : {1, -16, 65537})
            EXPECT_EQ(error_of(bad).empty(), !takes_levels(kind.kind)) << name_of(kind) << " " << bad;
    }
    EXPECT_EQ(usage_error(settings_of(CodecKind::standard, 512, 65536)), "");
    EXPECT_EQ(usage_error(settings_of(CodecKind::smart, 512, 256)), "");
    EXPECT_NE(usage_error(settings_of(CodecKind::smart, 512, 257)), "");
    EXPECT_EQ(usage_error(settings_of({CodecKind::standard, Points::random}, 512, 256)), "");
    EXPECT_NE(usage_error(settings_of({CodecKind::standard, Points::random}, 512, 257)).find("random points"),
              std::string::npos);
    EXPECT_EQ(usage_error(settings_of(CodecKind::exponential, 512, 128)), "");
    EXPECT_NE(usage_error(settings_of(CodecKind::exponential, 512, 130)), "");
    EXPECT_NE(usage_error(settings_of(CodecKind::exponential, 512, 15)).find("even"), std::string::npos);
    EXPECT_EQ(usage_error(settings_of(CodecKind::standard, 512, 15)), "");
    EXPECT_EQ(usage_error(settings_of(CodecKind::qsgd, 512, 3)), "");
}

TEST(CodecSettings, FixedPointHasAtMostSixteenBits) {
    CodecSettings settings = settings_of(CodecKind::fixed);
    for (const auto& [integer, fraction, good] : {std::tuple{2, 14, true},
                                                  {1, 0, true},
                                                  {16, 0, true},
                                                  {1, 15, true},
                                                  {0, 8, false},
                                                  {1, -1, false},
                                                  {2, 15, false},
                                                  {17, 0, false}}) {
        settings.fixed_il = integer;
        settings.fixed_fl = fraction;
        EXPECT_EQ(usage_error(settings).empty(), good) << integer << " " << fraction;
    }
    settings.fixed_il = settings.fixed_fl = std::numeric_limits<std::int64_t>::max();
    EXPECT_NE(usage_error(settings), "");
    settings.kind = CodecKind::standard;
    EXPECT_EQ(usage_error(settings), "");
}

TEST(CodecSettings, BucketSizeAndCandidates) {
    for (const Codec& kind : kLossyCodecs) {
        EXPECT_NE(usage_error(settings_of(kind, 0)), "");
        EXPECT_NE(usage_error(settings_of(kind, -2)), "");
        EXPECT_EQ(usage_error(settings_of(kind, -1)), "");
        EXPECT_EQ(usage_error(settings_of(kind, 1)), "");
    }
    CodecSettings smart = settings_of(CodecKind::smart);
    for (const double percent : {0.0, -1.0, 100.5, std::numeric_limits<double>::quiet_NaN()}) {
        smart.smart_candidates_percent = percent;
        EXPECT_NE(usage_error(smart), "") << percent;
    }
    smart.smart_candidates_percent = 100;
    EXPECT_EQ(usage_error(smart), "");
}

TEST(CodecSettings, ErrorFeedback) {
    for (CodecSettings settings : {settings_of(CodecKind::standard), settings_of(CodecKind::smart)}) {
        settings.error_feedback = true;
        EXPECT_EQ(usage_error(settings), "");
        for (double CodecSettings::*share : {&CodecSettings::ef_alpha, &CodecSettings::ef_beta})
            for (const double value : {-0.1, 1.1, std::numeric_limits<double>::quiet_NaN()}) {
                CodecSettings bad = settings;
                bad.*share = value;
                EXPECT_NE(usage_error(bad).find("from 0 to 1"), std::string::npos) << value;
            }
    }
}

TEST(CodecSettings, ACodecThatIsNoneOfThemIsAMistakeInside) {
    CodecSettings settings;
    settings.kind = static_cast<CodecKind>(kCodecCount);
    EXPECT_THROW(quant::parameters_of(settings), Error);
    EXPECT_THROW(quant::with_formula(settings, [](auto) { return 0; }), Error);
}

TEST(Buckets, OfNothingAreNone) {
    const quant::Buckets buckets(0, -1);
    EXPECT_EQ(buckets.count(), 0);
    EXPECT_EQ(buckets.runs(), 0);
    EXPECT_EQ(buckets.chunks(), 0);
}

TEST(CodecSettings, NoneLooksAtNothing) {
    EXPECT_EQ(usage_error(settings_of(CodecKind::none, 0, 0)), "");
    CodecSettings feedback = settings_of(CodecKind::none);
    feedback.error_feedback = true;
    EXPECT_NE(usage_error(feedback).find("needs a codec"), std::string::npos);
}

TEST(CodecSettings, SmartRefusesMoreScratchThanReasonable) {
    Context context(Device{}, 1);
    CodecSettings settings = settings_of(CodecKind::smart, -1, 256);
    settings.smart_candidates_percent = 100;
    EXPECT_THROW(make_codec(context, settings, std::int64_t{1} << 24), Error);
}

/// What is said where the codec's memory, of so many threads, cannot be had.
std::string memory_error(const CodecSettings& settings, std::int64_t count) {
    std::string message;
    {
        // More than there are addresses; none of them starts.
        Context context(Device{}, 1 << 28);
        const auto codec = make_codec(context, settings, count);
        try {
            context.workspace().freeze();
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::run);
            message = error.what();
        }
    }
    Context(Device{}, 1);  // what comes behind shall not start them either
    return message;
}

TEST(CodecSettings, TooLittleMemoryNamesTheOptionsThatNeedLess) {
#if defined(__SANITIZE_ADDRESS__)
    GTEST_SKIP() << "AddressSanitizer ends the program where so much memory is asked for";
#endif
    // A million buckets, so as many places to fit them in: 600 GB.
    const CodecSettings smart = settings_of(CodecKind::smart, 1024, 256);
    const std::string candidates =
        "; a smaller --bucket-size, fewer --levels or --smart-candidates, or "
        "--solver histogram needs less";
    EXPECT_TRUE(memory_error(smart, 1 << 30).ends_with(candidates)) << memory_error(smart, 1 << 30);
    const CodecSettings hadamard = settings_of(CodecKind::hadamard, -1);
    const std::string bucket = "memory left; a smaller --bucket-size needs less";
    EXPECT_TRUE(memory_error(hadamard, 1 << 27).ends_with(bucket)) << memory_error(hadamard, 1 << 27);
}

}  // namespace
}  // namespace qstep::test
