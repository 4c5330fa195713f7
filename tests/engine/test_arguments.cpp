#include "engine/arguments.h"

#include <gtest/gtest.h>

#include "engine/error.h"
#include "engine/option_values.h"

namespace qstep {
namespace {

struct Values {
    std::int64_t count = 3;
    double share = 0.5;
    bool loud = false;
};

class Arguments : public testing::Test {
  protected:
    ProgramArguments parse(const std::vector<std::string>& arguments, std::size_t most_files = 2) {
        const std::vector<ProgramOption> options{
            {"count", "number", "N", "how many", "3",
             into(whole<std::int64_t>("count", &Values::count, 1, 9))},
            {"share", "", "X", "how much", "",
             into(real("share", &Values::share, 0.0, Bound::open, 1.0, Bound::closed))},
            {"loud", "", "", "a switch", "", into(flag_into("loud", &Values::loud))}};
        return parse_arguments("program IN OUT", "What it is for.", options, most_files, arguments);
    }
    std::string refusal(const std::vector<std::string>& arguments, std::size_t most_files = 2) {
        try {
            parse(arguments, most_files);
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::usage);
            return error.what();
        }
        return "accepted";
    }
    template <typename Setter>
    std::function<void(const std::string&)> into(Setter setter) {
        return [this, setter](const std::string& text) { setter(values_, text); };
    }

    Values values_;
};

TEST_F(Arguments, SetsWhatIsGivenAndNamesIt) {
    const ProgramArguments given = parse({"in", "--loud", "--number", "7", "out"});
    EXPECT_EQ(values_.count, 7);
    EXPECT_EQ(values_.share, 0.5);
    EXPECT_TRUE(values_.loud);
    EXPECT_EQ(given.files, (std::vector<std::string>{"in", "out"}));
    EXPECT_EQ(given.given, (std::vector<std::string>{"count", "loud"}));
    EXPECT_TRUE(given.has("loud"));
    EXPECT_FALSE(given.has("share"));
    EXPECT_TRUE(given.help.empty());
}

TEST_F(Arguments, TheLastOfARepeatedOptionCounts) {
    EXPECT_EQ(parse({"--count=2", "--count", "4"}).given.size(), 1u);
    EXPECT_EQ(values_.count, 4);
}

TEST_F(Arguments, HelpNamesEverything) {
    const std::string help = parse({"--help"}).help;
    for (const char* part : {"What it is for.", "program IN OUT", "--count,--number N", "how many [3]",
                             "--share X", "--loud", "a switch"})
        EXPECT_NE(help.find(part), std::string::npos) << part << "\n" << help;
}

TEST_F(Arguments, RefusesWhatItDoesNotKnow) {
    EXPECT_EQ(refusal({"--cuont", "3"}), "unknown option --cuont; did you mean --count?");
    EXPECT_EQ(refusal({"--numbre=3"}), "unknown option --numbre; did you mean --number?");
    EXPECT_EQ(refusal({"--", "a"}), "unknown option --; did you mean --help?");
    EXPECT_NE(refusal({"-x"}).find("unexpected argument '-x'"), std::string::npos);
    EXPECT_NE(refusal({"a", "b", "c"}).find("unexpected argument 'c'"), std::string::npos);
    EXPECT_NE(refusal({"a"}, 0).find("unexpected argument 'a'"), std::string::npos);
}

TEST_F(Arguments, RefusesMissingAndUnwantedValues) {
    EXPECT_EQ(refusal({"--count"}), "--count needs a value");
    EXPECT_EQ(refusal({"--count", "--loud"}), "--count needs a value, and --loud is an option");
    EXPECT_EQ(refusal({"--loud=yes"}), "--loud is a switch and takes no value");
    EXPECT_NE(refusal({"--count="}).find("--count"), std::string::npos);
    EXPECT_EQ(refusal({"--count", "0"}), "--count takes a whole number from 1 to 9, not '0'");
    EXPECT_EQ(refusal({"--share", "0"}), "--share takes a number above 0 and at most 1, not '0'");
}

}  // namespace
}  // namespace qstep
