// What cifar_train leaves for people to look at: event files, report.html, the page that compares runs.
#include <signal.h>

#include <nlohmann/json.hpp>

#include "tests/apps/cifar_train_fixture.h"
#include "tests/count_of.h"

namespace qstep {
namespace {

class SeeTheRun : public CifarTrain {
  protected:
    // Oldest first.
    std::vector<std::filesystem::path> event_files(const std::string& name) const {
        std::vector<std::filesystem::path> files;
        for (const auto& file : std::filesystem::directory_iterator(in(name)))
            if (file.path().filename().string().starts_with("events.out.tfevents."))
                files.push_back(file.path());
        std::ranges::sort(files);
        return files;
    }
    // Epochs in the page's table.
    std::size_t epochs_in(const std::string& report) const {
        const std::string page = bytes(report);
        const std::size_t table = page.find("All epochs in numbers");
        return table == std::string::npos ? 0 : count_of(page.substr(table), "<tr><th scope=\"row\">");
    }
    void expect_in(const std::string& file, const std::string& part) {
        EXPECT_NE(bytes(file).find(part), std::string::npos) << file << " lacks " << part;
    }
};

TEST_F(SeeTheRun, LoggingChangesNoBit) {
    for (const std::string codec : {"none", "standard", "standard --error-feedback", "hadamard"}) {
        const std::string line = training("--epochs 2 --quant " + codec + " --output ");
        run_well(line + "plain");
        run_well(line + "logged --tensorboard --log-interval 2 --histogram-interval 3");
        expect_same_run("plain", "logged");
        EXPECT_EQ(event_files("plain").size(), 0u);
        EXPECT_EQ(event_files("logged").size(), 1u);
        for (const char* name : {"plain", "logged"}) std::filesystem::remove_all(in(name));
    }
}

TEST_F(SeeTheRun, EveryEndWritesAReport) {
    const Outcome whole = run_well(training("--epochs 3 --output whole"));
    EXPECT_NE(whole.out.find("whole/report.html"), std::string::npos) << whole.out;
    EXPECT_EQ(epochs_in("whole/report.html"), 3u);
    expect_in("whole/report.html", "Gradient before and after quantization");
    expect_in("whole/report.html", "simple, standard");

    run_well(training("--epochs 3 --output parts --max-steps 3"));
    EXPECT_EQ(epochs_in("parts/report.html"), 0u);
    expect_in("parts/report.html", "No epoch is finished yet.");
    expect_in("parts/report.html", "step 3;");
    run_well("--resume parts/checkpoint.safetensors --max-steps 9");
    EXPECT_EQ(epochs_in("parts/report.html"), 1u);
    run_well("--resume parts/checkpoint.safetensors");
    EXPECT_EQ(epochs_in("parts/report.html"), 3u);

    Program program(CIFAR_TRAIN, words(training("--epochs 100000 --log-interval 1 --output stopped")),
                    folder_.path());
    ASSERT_TRUE(program.wait_for_output("epoch 3/"));
    program.send(SIGINT);
    EXPECT_EQ(program.wait().status, 130);
    EXPECT_GE(epochs_in("stopped/report.html"), 2u);
}

TEST_F(SeeTheRun, ComparesRuns) {
    run_well(training("--epochs 3 --output long"));
    run_well(training("--epochs 1 --quant none --output <short>"));
    const Outcome outcome = run_well("compare long <short>");
    EXPECT_EQ(outcome.out, "written: compare.html\n");
    expect_in("compare.html", "no quantization");
    expect_in("compare.html", "&lt;short&gt;");
    EXPECT_EQ(bytes("compare.html").find("<short>"), std::string::npos);
    // Comparisons are replaced, other files are not.
    run_well("compare long --output compare.html");
    expect_in("compare.html", "1 run of simple");
    for (const char* file : {"long/metrics.csv", "long/report.html"}) {
        const std::string before = bytes(file);
        expect_failure(std::string("compare long --output ") + file, 2, "is no comparison of runs");
        EXPECT_EQ(bytes(file), before);
    }
    EXPECT_NE(run_well("compare --help").out.find("--output"), std::string::npos);
}

TEST_F(SeeTheRun, CompareLeavesOutRunsWithoutAnEpoch) {
    run_well(training("--max-steps 1 --output early"));
    run_well(training("--epochs 1 --output good"));
    EXPECT_EQ(run_well("compare early good").out,
              "left out: early holds no finished epoch\nwritten: compare.html\n");
    expect_in("compare.html", "1 run of simple");
}

TEST_F(SeeTheRun, CompareRefusesInOneSentence) {
    run_well(training("--epochs 1 --output good"));
    run_well(training("--max-steps 1 --output early"));
    run_well(training("--epochs 1 --output broken"));
    std::ofstream(in("broken/metrics.csv"), std::ios::app) << "2,half";
    expect_failure("compare", 2, "needs the folders");
    expect_failure("compare good ./good", 2, "are the same folder");
    expect_failure("compare good absent", 1, "absent is no folder of a run");
    expect_failure("compare cifar good", 1, "cifar is no folder of a run");
    expect_failure("compare early", 1, "none of the runs has a finished epoch");
    expect_failure("compare good broken", 1, "not one of its own: '2,half'");
    std::ofstream(in("broken/config.json")) << "[]";
    expect_failure("compare good broken", 1, "is not the configuration of a run");
    expect_failure("compare good --outputs x", 2, "--output");
    expect_failure("compare good --output absent/page.html", 1, "absent/page.html");
    const Outcome unnamed = run_program(CIFAR_TRAIN, {"compare", "good", "--output", ""}, folder_.path());
    EXPECT_EQ(unnamed.status, 2);
    EXPECT_NE(unnamed.err.find("--output"), std::string::npos) << unnamed.err;
    EXPECT_FALSE(exists("compare.html"));
    expect_failure(training("--histogram-interval 5 --output x"), 2, "without --tensorboard");
}

class Sweep : public SeeTheRun {
  protected:
    Sweep() { std::filesystem::create_symlink(CIFAR_TRAIN, in("cifar_train")); }

    Outcome sweep(std::vector<std::string> arguments) const {
        setenv("CIFAR_TRAIN", in("cifar_train").c_str(), 1);
        arguments.insert(arguments.begin(), std::string(SCRIPTS) + "/sweep.sh");
        const Outcome outcome = run_program("/bin/bash", arguments, folder_.path());
        unsetenv("CIFAR_TRAIN");
        return outcome;
    }
    Outcome sweep(const std::string& arguments) const { return sweep(words(arguments)); }
    // Nothing is trained and no folder made.
    void expect_refused(const std::vector<std::string>& arguments, const std::string& part) const {
        const Outcome outcome = sweep(arguments);
        EXPECT_EQ(outcome.status, 1) << outcome.out;
        EXPECT_EQ(outcome.out, "");
        EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
        EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
        EXPECT_FALSE(exists("none"));
    }

    const std::string shared_ = "--data cifar --model simple --batch-size 16 --epochs 1 --precision fp32 ";
};

TEST_F(Sweep, EndsWithThePage) {
    const Outcome good = sweep(shared_ + "--output -five");
    EXPECT_EQ(good.status, 0) << good.err;
    for (const char* codec : {"no quantization", "standard", "smart", "exponential", "hadamard"})
        expect_in("-five/compare.html", codec);
    EXPECT_EQ(good.out.substr(good.out.rfind("written:")), "written: ./-five/compare.html\n");
    expect_refused({"--data", "cifar", "--output", "-five"}, "is not empty");
}

TEST_F(Sweep, GoesOnBehindARunThatFails) {
    std::filesystem::remove(in("cifar_train"));
    std::ofstream(in("cifar_train"))
        << "#!/bin/sh\ncase \"$*\" in *--quant\\ smart*--output*) exit 1;; esac\nexec " << CIFAR_TRAIN
        << " \"$@\"\n";
    std::filesystem::permissions(in("cifar_train"), std::filesystem::perms::owner_all);
    const Outcome partly =
        sweep(shared_ + "--codecs none,smart,standard:levels=4:error-feedback --output=partly");
    EXPECT_EQ(partly.status, 1);
    EXPECT_NE(partly.err.find("see above: smart"), std::string::npos) << partly.err;
    expect_in("partly/compare.html", "2 runs of simple");
    EXPECT_TRUE(exists("partly/standard-levels-4-error-feedback/metrics.csv"));
    EXPECT_EQ(sweep(shared_ + "--codecs smart --output none").status, 1);
    EXPECT_FALSE(exists("none/compare.html"));
}

TEST_F(Sweep, ChecksEverythingBeforeItTrains) {
    const auto with_codecs = [](const char* codecs) {
        return std::vector<std::string>{"--data",   "cifar", "--model",  "simple",
                                        "--output", "none",  "--codecs", codecs};
    };
    expect_refused(with_codecs("none,none"), "names 'none' twice");
    expect_refused(with_codecs(""), "--codecs was given an empty text");
    expect_refused(with_codecs("none,standart"), "standart: there is no codec");
    expect_refused(with_codecs("none,,sign"), "there is no codec \"\"");
    expect_refused(with_codecs("none,sign:levels=4"), "sign:levels=4: --levels has no meaning");
    expect_refused({"--data", "cifar", "--output", ""}, "--output was given an empty text");
    expect_refused({"--data", "cifar", "--levls", "4", "--output", "none"}, "did you mean --levels?");
    expect_refused({"--resume", "five/none/checkpoint.safetensors"}, "is for one run");
    for (const char* help : {"-h", "--help"}) {
        const Outcome outcome = sweep(std::string(help));
        EXPECT_EQ(outcome.status, 0);
        EXPECT_EQ(outcome.out.find("== "), std::string::npos) << outcome.out;
        EXPECT_NE(outcome.out.find("scripts/sweep.sh [--codecs"), std::string::npos) << outcome.out;
    }
}

// TensorBoard's reader, with the first Python that has it. What PyPI alone has lies in build/python
// (.ci/run).
class TensorBoard : public SeeTheRun {
  protected:
    void SetUp() override {
        const std::string reader = "import tensorboard.backend.event_processing.event_accumulator";
        for (const char* candidate : {"python3", "/usr/bin/python3"})
            if (python(candidate, {"-c", reader}).status == 0) python_ = candidate;
        if (python_.empty()) GTEST_SKIP() << "no python3 with tensorboard: nothing was read";
    }
    Outcome python(const std::string& interpreter, std::vector<std::string> arguments) {
        const std::string packages = "PYTHONPATH=" + std::string(SCRIPTS) + "/../build/python";
        arguments.insert(arguments.begin(), {packages, interpreter});
        return run_program("/usr/bin/env", arguments, folder_.path());
    }
    nlohmann::json events(const std::string& name) {
        const Outcome outcome = python(python_, {std::string(TESTS_FOLDER) + "/apps/read_events.py", name});
        EXPECT_EQ(outcome.status, 0) << outcome.err;
        return nlohmann::json::parse(outcome.out);
    }
    static std::vector<std::int64_t> steps(const nlohmann::json& points) {
        std::vector<std::int64_t> list;
        for (const auto& point : points) list.push_back(point[0].get<std::int64_t>());
        return list;
    }

    std::string python_;
};

TEST_F(TensorBoard, ReadsARun) {
    run_well(training("--epochs 2 --output out --tensorboard --log-interval 3 --histogram-interval 4"));
    const auto found = events("out");
    const auto& scalars = found["scalars"];
    EXPECT_EQ(scalars.size(), 9u);
    // Every third step of an epoch of seven, and its last one.
    for (const char* tag : {"train/loss", "train/accuracy", "lr", "quantization_variance", "gradient_norm",
                            "bits_per_element", "images_per_second"})
        EXPECT_EQ(steps(scalars[tag]), (std::vector<std::int64_t>{3, 6, 7, 10, 13, 14})) << tag;
    EXPECT_EQ(steps(scalars["test/loss"]), (std::vector<std::int64_t>{7, 14}));
    EXPECT_NEAR(scalars["test/accuracy"][1][1], last_test_accuracy("out"), 1e-3);
    EXPECT_NEAR(scalars["lr"][0][1], 0.01, 1e-8);
    EXPECT_GT(scalars["gradient_norm"][0][1], 0.0);
    EXPECT_GT(scalars["bits_per_element"][0][1], 4.0);
    EXPECT_LT(scalars["bits_per_element"][0][1], 5.0);
    // The epoch's mean, from its three parts of 48, 48 and 4 images.
    std::istringstream row(bytes("out/metrics.csv").substr(bytes("out/metrics.csv").find("\n1,") + 1));
    std::string cell;
    for (int column = 0; column < 4; ++column) std::getline(row, cell, ',');
    const double mean = 0.48 * scalars["train/loss"][0][1].get<double>() +
                        0.48 * scalars["train/loss"][1][1].get<double>() +
                        0.04 * scalars["train/loss"][2][1].get<double>();
    EXPECT_NEAR(mean, std::stod(cell), 1e-5);

    const auto& histograms = found["histograms"];
    EXPECT_EQ(histograms.size(), 20u);  // ten parameters, before and after
    for (const auto& [tag, points] : histograms.items()) {
        EXPECT_EQ(steps(points), (std::vector<std::int64_t>{4, 8, 12})) << tag;
        for (const auto& point : points) EXPECT_EQ(point[1], point[2]) << tag;
    }
    // Six filters of three 5x5 windows.
    EXPECT_EQ(histograms["quantized/conv1.weight"][0][1], 450);
}

TEST_F(TensorBoard, ReadsAResumedRunAsOne) {
    const std::string log = "--tensorboard --log-interval 1 --histogram-interval 2 ";
    run_well(training("--epochs 2 --output whole " + log));
    run_well(training("--epochs 2 --output parts --max-steps 3 " + log));
    // As if the run had gone on to step 5 and, while it wrote of that, been killed or run out of disk.
    std::filesystem::copy(in("parts"), in("kept"));
    run_well("--resume parts/checkpoint.safetensors --max-steps 5 " + log);
    const auto last = event_files("parts").back();
    std::filesystem::resize_file(last, std::filesystem::file_size(last) - 7);
    std::filesystem::copy_file(in("kept/checkpoint.safetensors"), in("parts/checkpoint.safetensors"),
                               std::filesystem::copy_options::overwrite_existing);
    run_well("--resume parts/checkpoint.safetensors " + log);
    EXPECT_EQ(event_files("parts").size(), 3u);
    expect_same_run("whole", "parts");
    auto whole = events("whole"), parts = events("parts");
    EXPECT_EQ(steps(parts["scalars"]["train/loss"]).size(), 14u);
    for (auto* found : {&whole, &parts}) (*found)["scalars"].erase("images_per_second");
    EXPECT_EQ(whole, parts);
}

}  // namespace
}  // namespace qstep
