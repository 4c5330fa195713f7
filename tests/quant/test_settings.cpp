#include <gtest/gtest.h>

#include <string>

#include "codec_runner.h"
#include "engine/error.h"

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
    for (const CodecKind kind : {CodecKind::none, CodecKind::standard, CodecKind::smart, CodecKind::hadamard,
                                 CodecKind::exponential})
        EXPECT_EQ(parse_codec(name_of(kind)), kind);
    EXPECT_EQ(parse_rounding("nearest"), Rounding::nearest);
    EXPECT_EQ(parse_rounding("stochastic"), Rounding::stochastic);
}

TEST(CodecSettings, UnknownNameSuggestsTheNearest) {
    for (const auto& [typed, meant] : {std::pair{"standart", "\"standard\""},
                                       {"Smrat", "\"smart\""},
                                       {"hadamrd", "\"hadamard\""},
                                       {"exp", "\"none\""},
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
}

TEST(CodecSettings, LevelsHaveLimits) {
    for (const CodecKind kind : kLossyCodecs) {
        EXPECT_EQ(usage_error(settings_of(kind, 512, 2)), "");
        EXPECT_NE(usage_error(settings_of(kind, 512, 1)), "");
        EXPECT_NE(usage_error(settings_of(kind, 512, -16)), "");
        EXPECT_NE(usage_error(settings_of(kind, 512, 65537)), "");
    }
    EXPECT_EQ(usage_error(settings_of(CodecKind::standard, 512, 65536)), "");
    EXPECT_EQ(usage_error(settings_of(CodecKind::smart, 512, 256)), "");
    EXPECT_NE(usage_error(settings_of(CodecKind::smart, 512, 257)), "");
    EXPECT_EQ(usage_error(settings_of(CodecKind::exponential, 512, 128)), "");
    EXPECT_NE(usage_error(settings_of(CodecKind::exponential, 512, 130)), "");
    EXPECT_NE(usage_error(settings_of(CodecKind::exponential, 512, 15)).find("even"), std::string::npos);
    EXPECT_EQ(usage_error(settings_of(CodecKind::standard, 512, 15)), "");
}

TEST(CodecSettings, BucketSizeAndCandidates) {
    for (const CodecKind kind : kLossyCodecs) {
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

}  // namespace
}  // namespace qstep::test
