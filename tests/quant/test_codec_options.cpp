#include "quant/codec_options.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "engine/error.h"

namespace qstep::test {
namespace {

const CodecOption& option(const std::string& name) {
    return *std::ranges::find(codec_options(), name, &CodecOption::name);
}

std::string refusal(const std::string& name, const std::string& text) {
    CodecSettings settings;
    try {
        option(name).set(settings, text);
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::usage);
        return error.what();
    }
    return "accepted";
}

TEST(CodecOptions, EachHasANameOfItsOwnAndAHelp) {
    EXPECT_EQ(codec_options().front().name, "quant");
    std::set<std::string> names;
    for (const CodecOption& each : codec_options()) {
        EXPECT_TRUE(names.insert(each.name).second) << each.name;
        EXPECT_TRUE(each.alias.empty() || names.insert(each.alias).second) << each.alias;
        EXPECT_FALSE(each.help.empty()) << each.name;
    }
}

TEST(CodecOptions, TheHelpListsEveryCodec) {
    for (const std::string_view name : codec_names())
        EXPECT_NE(option("quant").help.find(name), std::string::npos) << name;
}

// What an option shows is what it takes.
TEST(CodecOptions, ValuesComeBack) {
    for (const CodecOption& each : codec_options()) {
        CodecSettings settings;
        const CodecOptionValue initial = each.get(settings);
        each.set(settings, text_of(initial));
        EXPECT_EQ(each.get(settings), initial) << each.name;
    }
    CodecSettings settings;
    for (const auto& [name, text] : {std::pair{"quant", "smart"},
                                     {"levels", "7"},
                                     {"bucket-size", "-1"},
                                     {"rounding", "nearest"},
                                     {"smart-candidates", "2.5"}}) {
        option(name).set(settings, text);
        EXPECT_EQ(text_of(option(name).get(settings)), text);
    }
    EXPECT_EQ(settings.kind, CodecKind::smart);
    EXPECT_EQ(settings.levels, 7);
    EXPECT_EQ(settings.bucket_size, -1);
    EXPECT_EQ(settings.rounding, Rounding::nearest);
    EXPECT_EQ(settings.smart_candidates_percent, 2.5);
}

TEST(CodecOptions, RefusalsNameTheOption) {
    EXPECT_EQ(refusal("levels", "two"), "--levels takes a whole number, not 'two'");
    EXPECT_EQ(refusal("bucket-size", "1e3"), "--bucket-size takes a whole number, not '1e3'");
    EXPECT_NE(refusal("smart-candidates", "0").find("--smart-candidates takes a number above 0"),
              std::string::npos);
    EXPECT_NE(refusal("quant", "smrat").find("did you mean \"smart\"?"), std::string::npos);
    EXPECT_NE(refusal("rounding", "up").find("nearest"), std::string::npos);
}

TEST(CodecOptions, OnesWithoutMeaningAreRefused) {
    const auto refusal_of = [](const char* given, const CodecSettings& settings) -> std::string {
        try {
            check_meaning({"lr", given}, settings);
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::usage);
            return error.what();
        }
        return "accepted";
    };
    CodecSettings settings;
    settings.kind = CodecKind::standard;
    EXPECT_EQ(refusal_of("ef-alpha", settings), "--ef-alpha has no meaning without --error-feedback");
    EXPECT_EQ(refusal_of("levels", settings), "accepted");
    settings.error_feedback = true;
    EXPECT_EQ(refusal_of("ef-alpha", settings), "accepted");
}

}  // namespace
}  // namespace qstep::test
