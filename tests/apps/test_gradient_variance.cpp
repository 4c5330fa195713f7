// gradient_variance as a person runs it, and the plots of what it writes.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/apps/cifar_train_fixture.h"

namespace qstep {
namespace {

// metrics.csv has six digits.
constexpr double kPrinted = 1e-5;

using Columns = std::map<std::string, std::vector<double>>;

class GradientVariance : public CifarTrain {
  protected:
    Outcome study(const std::string& rest) {
        return run_program(GRADIENT_VARIANCE,
                           words("--data cifar --model simple --batch-size 16 --lr 0.01 --threads 2 " + rest),
                           folder_.path());
    }
    Outcome study_well(const std::string& rest) {
        const Outcome outcome = study(rest);
        EXPECT_EQ(outcome.status, 0) << outcome.err;
        return outcome;
    }
    void expect_refused(const std::string& rest, const std::string& part) {
        const Outcome outcome = study(rest + " --output none");
        EXPECT_EQ(outcome.status, 2) << outcome.err;
        EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
        EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
        EXPECT_FALSE(exists("none")) << rest;
    }
    Columns columns(const std::string& name) const {
        std::istringstream lines(bytes(name));
        const auto cells = [](const std::string& line) {
            std::istringstream stream(line);
            std::vector<std::string> texts;
            for (std::string cell; std::getline(stream, cell, ',');) texts.push_back(cell);
            return texts;
        };
        std::string line;
        std::getline(lines, line);
        const std::vector<std::string> header = cells(line);
        Columns result;
        while (std::getline(lines, line)) {
            const std::vector<std::string> texts = cells(line);
            EXPECT_EQ(texts.size(), header.size()) << line;
            for (std::size_t i = 0; i < texts.size(); ++i) result[header[i]].push_back(std::stod(texts[i]));
        }
        return result;
    }
};

// The variance of `standard` is also what cifar_train reports of its own steps; the first one starts from the
// same weights.
TEST_F(GradientVariance, TheFirstStepIsThatOfATraining) {
    study_well("--steps 1 --codecs standard:bucket-size=512,exponential:levels=8 --output study");
    write_cifar(in("cifar"), 4, 10);  // 20 images: with a batch of 20 an epoch is one step
    study_well("--steps 1 --batch-size 20 --codecs standard:bucket-size=512 --output one");
    run_well(
        "--data cifar --model simple --quant standard --batch-size 20 --lr 0.01 --threads 2 --epochs 1 "
        "--output run");
    const double studied = columns("one/variance.csv").at("standard:bucket-size=512").at(0);
    const double reported = columns("run/metrics.csv").at("quantization_variance").at(0);
    EXPECT_NEAR(studied, reported, kPrinted * reported);
    EXPECT_EQ(columns("study/variance.csv").size(), 5u);
}

TEST_F(GradientVariance, WritesOneLineAStepAndTheAverages) {
    const std::string text = study_well("--steps 9 --output study").out;
    const Columns steps = columns("study/variance.csv");
    ASSERT_EQ(steps.at("step").size(), 9u);  // beyond the seven steps of an epoch
    EXPECT_EQ(steps.at("step").back(), 9.0);
    for (const auto& [name, values] : steps)
        EXPECT_TRUE(std::ranges::all_of(values, [](double value) { return value > 0.0; })) << name;
    // Twenty-five times the candidates, placed by the same exact solver.
    double few = 0.0, many = 0.0;
    for (const double value : steps.at("smart 1 %")) few += value;
    for (const double value : steps.at("smart 25 %")) many += value;
    EXPECT_LT(many, few);
    const std::string averages = bytes("study/averages.csv");
    EXPECT_NE(averages.find("\nstandard,"), std::string::npos);
    EXPECT_NE(text.find(bytes("study/variance.md")), std::string::npos) << text;
    EXPECT_NE(bytes("study/config.json").find("\"smart-candidates\": 25.0"), std::string::npos);
}

TEST_F(GradientVariance, PublishedNumbersStandBesideThePublishedStudyOnly) {
    const Outcome published = run_program(
        GRADIENT_VARIANCE, words("--data cifar --threads 2 --steps 1 --output published"), folder_.path());
    ASSERT_EQ(published.status, 0) << published.err;
    EXPECT_NE(bytes("published/averages.csv").find(",1.044\n"), std::string::npos);
    EXPECT_NE(bytes("published/variance.md").find(" 1.044 |"), std::string::npos);
    study_well("--steps 1 --output other");
    EXPECT_EQ(bytes("other/averages.csv").find(",1.044\n"), std::string::npos);
    EXPECT_EQ(bytes("other/variance.md").find(" 1.044 |"), std::string::npos);
}

TEST_F(GradientVariance, TheSameSeedGivesTheSameBytes) {
    for (const char* name : {"a", "b"}) study_well(std::string("--steps 3 --seed 4 --output ") + name);
    study_well("--steps 3 --seed 5 --output c");
    EXPECT_EQ(bytes("a/variance.csv"), bytes("b/variance.csv"));
    EXPECT_NE(bytes("a/variance.csv"), bytes("c/variance.csv"));
}

TEST_F(GradientVariance, PublishedNumbersStandBesideTheirOwnSettingsOnly) {
    study_well("--steps 1 --levels 4 --output study");
    EXPECT_EQ(bytes("study/averages.csv").find("1.044"), std::string::npos);
}

TEST_F(GradientVariance, RefusesWhatMakesNoSense) {
    expect_refused("--codecs standart", "did you mean \"standard\"?");
    expect_refused("--codecs standard,", "no codec");
    expect_refused("--codecs standard:levle=3", "no option 'levle'");
    expect_refused("--codecs standard:levels", "'levels' needs a value");
    expect_refused("--codecs standard:levels=1", "at least 2 levels");
    expect_refused("--codecs standard:quant=smart", "no option 'quant'");
    expect_refused("--codecs standard:smart-candidates=3", "no meaning");
    expect_refused("--codecs standard:error-feedback", "error feedback");
    expect_refused("--codecs standard:error-feedback=true", "is a switch");
    expect_refused("--codecs standard,standard", "'standard' twice");
    expect_refused("--codecs=", "--codecs was given an empty text");
    expect_refused("--steps 0", "from 1 to");
    expect_refused("--epochs 3", "unknown option --epochs");
    expect_refused("file", "unexpected argument");
}

TEST_F(GradientVariance, NeverMixesTwoStudies) {
    study_well("--steps 1 --output study");
    const std::string before = bytes("study/variance.csv");
    const Outcome again = study("--steps 2 --output study");
    EXPECT_EQ(again.status, 2);
    EXPECT_NE(again.err.find("choose another --output"), std::string::npos) << again.err;
    EXPECT_EQ(bytes("study/variance.csv"), before);
}

TEST_F(GradientVariance, AFaultInTheTrainingEndsIt) {
    const Outcome outcome = study("--steps 50 --lr 1000 --output study");
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("is not finite"), std::string::npos) << outcome.err;
    EXPECT_FALSE(exists("study/variance.csv"));
}

TEST_F(GradientVariance, ASignalEndsItWithWhatItHas) {
    Program program(
        GRADIENT_VARIANCE,
        words("--data cifar --model simple --batch-size 16 --lr 0.001 --threads 2 --steps 1000000 "
              "--codecs standard --output study"),
        folder_.path());
    ASSERT_TRUE(program.wait_for_output("step 50/"));
    program.send(SIGINT);
    const Outcome outcome = program.wait();
    EXPECT_EQ(outcome.status, 130) << outcome.err;
    const std::size_t steps = columns("study/variance.csv").at("step").size();
    EXPECT_GE(steps, 50u);
    EXPECT_NE(outcome.out.find("stopped after step " + std::to_string(steps) + " of 1000000"),
              std::string::npos)
        << outcome.out;
    EXPECT_NE(bytes("study/config.json").find("\"steps\": " + std::to_string(steps) + ","),
              std::string::npos);
    EXPECT_TRUE(exists("study/averages.csv"));
    EXPECT_TRUE(exists("study/variance.md"));
}

// The scripts with the first Python that has matplotlib.
class Plots : public GradientVariance {
  protected:
    void SetUp() override {
        for (const char* candidate : {"/usr/bin/python3", "python3"})
            if (plot_with(candidate, {"-c", "import matplotlib"}).status == 0) python_ = candidate;
        if (python_.empty()) GTEST_SKIP() << "no python3 with matplotlib: nothing was plotted";
    }
    Outcome plot_with(const std::string& python, std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), python);
        return run_program("/usr/bin/env", arguments, folder_.path());
    }
    Outcome plot(const std::string& script, const std::string& arguments) {
        std::vector<std::string> all = words(arguments);
        all.insert(all.begin(), std::string(SCRIPTS) + "/" + script);
        return plot_with(python_, all);
    }
    void expect_plot(const std::string& name, const std::string& text) {
        const std::string content = bytes(name);
        EXPECT_NE(content.find("</svg>"), std::string::npos) << name;
        EXPECT_NE(content.find(text), std::string::npos) << name << " lacks " << text;
    }
    void expect_complaint(const Outcome& outcome, const std::string& part) {
        EXPECT_EQ(outcome.status, 1);
        EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
        EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
    }

    std::string python_;
};

TEST_F(Plots, OfAStudy) {
    study_well("--steps 3 --output study");
    const Outcome outcome = plot("plot_variance.py", "study --format svg");
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    // Letters are drawn as outlines; comments hold the texts.
    expect_plot("study/variance_per_step.svg", "<!-- smart 25 % -->");
    expect_plot("study/average_variance.svg", "<!-- smart 25 % -->");
    // What is published is about another model and stands beside that one only.
    EXPECT_EQ(bytes("study/average_variance.svg").find("<!-- published -->"), std::string::npos);
    std::string averages = bytes("study/averages.csv");
    averages.insert(averages.find('\n', averages.find("\nstandard,") + 1), "1.044");
    std::ofstream(std::filesystem::path(folder_.path()) / "study/averages.csv") << averages;
    EXPECT_EQ(plot("plot_variance.py", "study --format svg").status, 0);
    expect_plot("study/average_variance.svg", "<!-- published -->");
    EXPECT_EQ(plot("plot_variance.py", "study").status, 0);
    EXPECT_EQ(bytes("study/average_variance.png").substr(1, 3), "PNG");
    expect_complaint(plot("plot_variance.py", "absent"), "cannot read absent/variance.csv");
}

TEST_F(Plots, OfRunsOfDifferentLengths) {
    run_well(training("--epochs 1 --output one"));
    run_well(training("--epochs 3 --levels 4 --output three"));
    const Outcome outcome = plot("plot_runs.py", "one three --loss --output runs.svg");
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    expect_plot("runs.svg", "levels 4");
    expect_plot("runs.svg", "<!-- test accuracy (%) -->");
}

TEST_F(Plots, OfRunsThatAreAlikeGoByTheirFolders) {
    for (const char* name : {"one", "two"}) run_well(training(std::string("--epochs 1 --output ") + name));
    EXPECT_EQ(plot("plot_runs.py", "one two/ --output runs.svg").status, 0);
    expect_plot("runs.svg", "<!-- one  (");
    expect_plot("runs.svg", "<!-- two  (");
}

TEST_F(Plots, HaveLabelsOfTheCodecsOwnOptions) {
    run_well(training("--epochs 1 --quant none --output none"));
    run_well(training("--epochs 1 --quant sign --error-feedback --output sign"));
    run_well(training("--epochs 1 --levels 4 --output standard"));
    run_well(training("--epochs 1 --quant smart --solver exact --output smart"));
    EXPECT_EQ(plot("plot_runs.py", "none sign standard smart --output runs.svg").status, 0);
    for (const char* label :
         {"<!-- no quantization  (", "<!-- sign, error-feedback  (",
          "<!-- standard, levels 4, no error-feedback  (", "<!-- smart, levels 16, no error-feedback  ("})
        expect_plot("runs.svg", label);
}

TEST_F(Plots, LeaveOutRunsWithoutAnEpoch) {
    run_well(training("--epochs 1 --output one"));
    run_well(training("--max-steps 1 --output short"));
    const Outcome outcome = plot("plot_runs.py", "short one --output runs.svg");
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "left out: short has no metrics.csv, so no finished epoch\n");
    EXPECT_TRUE(exists("runs.svg"));
}

TEST_F(Plots, SayWhichPythonLacksMatplotlib) {
    run_well(training("--epochs 1 --output one"));
    std::filesystem::create_directory(in("first"));
    std::ofstream(in("first/matplotlib.py")) << "raise ImportError\n";
    const auto plot_without = [&](const std::string& script, const std::string& arguments) {
        std::vector<std::string> all = words(arguments);
        all.insert(all.begin(), {"/usr/bin/env", "python3", std::string(SCRIPTS) + "/" + script});
        return plot_with("PYTHONPATH=first", all);
    };
    for (const char* script : {"plot_runs.py", "plot_variance.py"})
        EXPECT_EQ(plot_without(script, "--help").status, 0) << script;
    expect_complaint(plot_without("plot_runs.py", "one"), "python3 has no matplotlib");
}

TEST_F(Plots, NeedRuns) {
    run_well(training("--max-steps 1 --output short"));
    for (const char* folders : {"short", "absent", "short absent"})
        expect_complaint(plot("plot_runs.py", folders), std::string("no finished epoch"));
    std::ofstream(in("short/metrics.csv")) << "epoch,test_accuracy\n1,2,3\n";
    expect_complaint(plot("plot_runs.py", "short"), "is no table");
    std::ofstream(in("short/metrics.csv")) << "epoch,test_accuracy,test_loss\n1,high,3\n";
    expect_complaint(plot("plot_runs.py", "short"),
                     "something else than numbers in its column 'test_accuracy'");
}

}  // namespace
}  // namespace qstep
