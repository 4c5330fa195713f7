#include <gtest/gtest.h>

#include "engine/error.h"
#include "tests/temporary_folder.h"
#include "train/report/compare.h"
#include "train/report/report_page.h"

namespace qstep {
namespace {

using Json = nlohmann::ordered_json;

RunRecord run(const std::string& folder, int epochs, Json options) {
    RunRecord record{folder,
                     {{"options", std::move(options)},
                      {"bits_per_element", 4.132},
                      {"versions", {{"qstep", "0.1.0"}, {"compiler", "12.2.0"}}}},
                     {}};
    for (int epoch = 1; epoch <= epochs; ++epoch)
        record.rows.push_back(
            {{epoch, 10 * epoch, 0.1, 1.5 / epoch, 40.0, 1.25, 50.0 + epoch % 3, 0.5}, 2.5, 800.0});
    return record;
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

// What would make a browser ask for something.
void expect_self_contained(const std::string& page) {
    for (const char* part : {"http:", "https:", "src=", "url(", "@import", "<link", "<script", "javascript"})
        EXPECT_FALSE(contains(page, part)) << part;
    EXPECT_TRUE(contains(page, "default-src 'none'"));
}

std::string run_error(const std::function<void()>& action) {
    try {
        action();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::run) << error.what();
        return error.what();
    }
    return "no error";
}

TEST(Report, ShowsTheRun) {
    const std::vector<float> gradient{-1.0f, 0.25f, 0.5f, 0.5f}, applied{-1.0f, 0.0f, 0.5f, 1.0f};
    const std::string page =
        report_page(run("runs/a", 5, {{"model", "resnet_20"}, {"quant", "smart"}, {"epochs", 9}}),
                    gradient_picture(50, gradient, applied));
    expect_self_contained(page);
    for (const char* part :
         {"<h1>resnet_20, smart</h1>", "5 of 9 epochs", "52.00 %", "4.132", "Accuracy (%)", "Loss (",
          "Variance of", "Time an epoch (s)", "Gradient before and after quantization", "step 50", "12.2.0",
          "runs/a", ">2.5 s</td>"})
        EXPECT_TRUE(contains(page, part)) << part;
}

TEST(Report, SaysHowAFailedRunEnded) {
    const RunRecord record = run("a", 2, {{"model", "simple"}, {"quant", "none"}, {"epochs", 9}});
    const std::string page = report_page(record, {}, "the loss is <inf>");
    expect_self_contained(page);
    EXPECT_TRUE(contains(page, "This run ended in an error: the loss is &lt;inf&gt;."));
    EXPECT_TRUE(contains(page, "2 of 9 epochs"));
    EXPECT_FALSE(contains(report_page(record, {}), "in an error"));
}

TEST(Report, BeforeTheFirstEpoch) {
    const std::string page =
        report_page(run("a", 0, {{"model", "simple"}, {"quant", "none"}, {"epochs", 9}}), {});
    expect_self_contained(page);
    EXPECT_TRUE(contains(page, "0 of 9 epochs"));
    EXPECT_TRUE(contains(page, "No epoch is finished yet."));
    EXPECT_FALSE(contains(page, "<svg class=\"chart\""));
}

TEST(Report, TextsOfOthersStayTexts) {
    const std::string hostile = "\"><script>alert(1)</script>&'";
    RunRecord record = run(hostile, 2, {{"model", hostile}, {"quant", hostile}, {hostile, hostile}});
    record.configuration["versions"]["qstep"] = hostile;
    record.configuration["data"] = {{"train", hostile}};
    RunRecord other = run("b", 1, {{"model", "m"}, {"quant", "q"}});
    for (const std::string& page : {report_page(record, {}), comparison_page({record, other})}) {
        expect_self_contained(page);
        EXPECT_TRUE(contains(page, "&lt;script&gt;"));
    }
}

TEST(Report, ForeignConfigurationsAreNoHarm) {
    RunRecord record = run("a", 1, {{"model", Json::array({Json::object()})}, {"quant", nullptr}});
    record.configuration["versions"] = 5;
    record.configuration["data"] = Json::array();
    expect_self_contained(report_page(record, {}));
}

TEST(Report, PicturesShareTheirBins) {
    const std::vector<float> gradient{-0.5f, 0.5f}, applied{0.0f, 2.0f};
    const GradientPicture picture = gradient_picture(1, gradient, applied);
    EXPECT_EQ(picture.before.high, 2.0);
    EXPECT_EQ(picture.after->high, 2.0);
    EXPECT_EQ(picture.before.counts.size(), picture.after->counts.size());
    EXPECT_FALSE(gradient_picture(1, gradient, {}).after);
}

TEST(Compare, ShowsRunsOfDifferentLengths) {
    const std::string page =
        comparison_page({run("a", 10, {{"model", "m"}, {"quant", "none"}, {"levels", 16}, {"lr", 0.1}}),
                         run("b", 3, {{"model", "m"}, {"quant", "smart"}, {"levels", 4}, {"lr", 0.1}}),
                         run("c", 3, {{"model", "m"}, {"quant", "smart"}, {"levels", 8}, {"lr", 0.1}})});
    expect_self_contained(page);
    for (const char* part :
         {"3 runs of m", ">no quantization<", "smart, levels 4", "epoch 10: 51", "epoch 3: 50", "52.00 % (2)",
          "Options in which the runs differ", "levels</th><td>–</td><td>4</td><td>8</td>"})
        EXPECT_TRUE(contains(page, part)) << part;
}

RunRecord trained_on(const char* folder, const char* data, int images) {
    RunRecord record = run(folder, 1, {{"model", "m"}, {"quant", "sign"}, {"data", folder}});
    record.configuration["data"] = {{"train", data}, {"train_images", images}};
    return record;
}

TEST(Compare, NamesAllDataThatRunsWereTrainedOn) {
    const RunRecord a = trained_on("/a", "CIFAR-10 training images", 50000),
                    b = trained_on("/b", "synthetic training images", 50000),
                    c = trained_on("/c", "CIFAR-10 training images", 1000);
    for (const auto& runs : {std::vector{a, b}, std::vector{b, a}}) {
        const std::string page = comparison_page(runs);
        EXPECT_TRUE(contains(page, "on 50000 CIFAR-10 training images / 50000 synthetic training images;"));
        EXPECT_TRUE(contains(page, "data</th><td>" + runs[0].folder.string() + "</td>"));
    }
    EXPECT_EQ(run_labels({a, c}),
              (std::vector<std::string>{"50000 CIFAR-10 training images", "1000 CIFAR-10 training images"}));
    // The same images in two places.
    const RunRecord moved = trained_on("/d", "CIFAR-10 training images", 50000);
    EXPECT_EQ(run_labels({a, moved}), (std::vector<std::string>{"/a", "/d"}));
    EXPECT_TRUE(contains(comparison_page({a, moved}), "on 50000 CIFAR-10 training images;"));
}

TEST(Report, HasRoomForAnyLoss) {
    EXPECT_EQ(loss_text(0.01098), "0.0110");
    EXPECT_EQ(loss_text(1.894153e25), "1.894e+25");
    RunRecord record = run("a", 1, {{"model", "m"}, {"quant", "none"}});
    record.rows[0].metrics.test_loss = 1.894153e25;
    for (const std::string& page : {report_page(record, {}), comparison_page({record})})
        EXPECT_FALSE(contains(page, "18941530")) << page;
}

// Stopped behind the last step of its second epoch, and resumed to evaluate it.
TEST(Report, AnEpochThatWasNotTrainedHereHasNoTime) {
    RunRecord record = run("a", 3, {{"model", "m"}, {"quant", "none"}});
    record.rows[1].seconds = 0.25;
    record.rows[1].images_per_second = 0.0;
    EXPECT_EQ(record.mean_seconds(), 2.5);
    record.rows.erase(record.rows.begin() + 2);
    record.rows.erase(record.rows.begin());
    for (const std::string& page : {report_page(record, {}), comparison_page({record})}) {
        expect_self_contained(page);
        EXPECT_TRUE(contains(page, "No time of an epoch is known."));
        EXPECT_FALSE(contains(page, "nan"));
    }
}

TEST(Compare, ShowsOneRunAndWhatIsNotKnownOfIt) {
    RunRecord record = run("a", 1, {{"model", "m"}, {"quant", "none"}});
    record.configuration.erase("bits_per_element");
    record.configuration.erase("versions");
    const std::string page = comparison_page({record});
    expect_self_contained(page);
    for (const char* part : {"1 run of m", "All runs have the same options.", ">–<"})
        EXPECT_TRUE(contains(page, part)) << part;
    EXPECT_FALSE(contains(report_page(record, {}), "bits an element"));
}

TEST(Compare, LabelsTellRunsApart) {
    const Json same{{"quant", "none"}, {"output", "x"}};
    const std::vector<RunRecord> twins{run("a", 1, same), run("b", 1, {{"quant", "none"}, {"output", "y"}})};
    EXPECT_EQ(run_labels(twins), (std::vector<std::string>{"a", "b"}));
    EXPECT_TRUE(differing_options(twins).empty());
    const std::vector<RunRecord> three{run("a", 1, {{"quant", "sign"}, {"error-feedback", true}}),
                                       run("b", 1, {{"quant", "sign"}, {"error-feedback", false}}),
                                       run("c", 1, {{"quant", "sign"}, {"error-feedback", false}})};
    EXPECT_EQ(run_labels(three),
              (std::vector<std::string>{"error-feedback", "no error-feedback, b", "no error-feedback, c"}));
    // An option that an older program did not have.
    EXPECT_EQ(run_labels({run("a", 1, {{"quant", "smart"}}),
                          run("b", 1, {{"quant", "smart"}, {"solver", "exact"}})}),
              (std::vector<std::string>{"a", "solver exact"}));
}

TEST(Compare, LabelsHaveNoOptionThatTheCodecDoesNotTake) {
    const auto codec = [](const char* name, int levels, const char* solver, bool feedback) {
        return run(name, 1,
                   {{"quant", name}, {"levels", levels}, {"solver", solver}, {"error-feedback", feedback}});
    };
    EXPECT_EQ(run_labels({codec("none", 16, "sample", false), codec("sign", 16, "sample", true),
                          codec("standard", 4, "sample", false), codec("smart", 16, "exact", false)}),
              (std::vector<std::string>{"no quantization", "sign, error-feedback",
                                        "standard, levels 4, no error-feedback",
                                        "smart, levels 16, no error-feedback"}));
}

TEST(RunRecord, ReadsAFolder) {
    TemporaryFolder folder;
    const auto config = folder.path() / "config.json", metrics = folder.path() / "metrics.csv";
    const auto read = [&] { return read_run(folder.path()); };
    EXPECT_TRUE(contains(run_error(read), "no config.json"));
    std::ofstream(config) << "{";
    EXPECT_TRUE(contains(run_error(read), "is not the configuration of a run"));
    for (const char* other : {"[1]", "{}"}) {
        std::ofstream(config) << other;
        EXPECT_TRUE(contains(run_error(read), "is not the configuration of a run"));
    }
    std::ofstream(config) << "{\"options\":[1]}";
    EXPECT_TRUE(contains(run_error(read), "is not the configuration of a run"));
    std::ofstream(config) << "{\"options\":{\"quant\":\"sign\",\"milestones\":[81,122]}}";
    EXPECT_TRUE(read().rows.empty());
    EXPECT_EQ(read().option("milestones"), "81,122");
    EXPECT_EQ(read().option("absent"), "");
    std::ofstream(metrics) << MetricsFile::kHeader << "\n1,10,0.1,1.5,40,1.25,50,0.125,2.5,100\n";
    EXPECT_EQ(read().rows.size(), 1u);
    EXPECT_EQ(read().last().metrics.test_accuracy, 50.0);
    EXPECT_EQ(read().last().images_per_second, 100.0);
    EXPECT_EQ(read().mean_seconds(), 2.5);
    for (const char* line :
         {"x", "1,10,0.1,1.5,40,1.25,50,0.125,2.5", "1,10,0.1,1.5,40,1.25,50,0.125,2.5,",
          "1,10,0.1,nan,40,1.25,50,0.125,2.5,1", "1,10,0.1,1.5,40,1.25,50,0.125,2.5,1,2"}) {
        std::ofstream(metrics) << MetricsFile::kHeader << "\n" << line << "\n";
        EXPECT_TRUE(contains(run_error(read), "not one of its own")) << line;
    }
    const std::string row = "2,10,0.1,1.5,40,1.25,50,0.125,2.5,100\n";
    std::ofstream(metrics) << MetricsFile::kHeader << "\n" << row << row;
    EXPECT_TRUE(contains(run_error(read), "not one of its own"));
    std::ofstream(metrics) << "a,b\n";
    EXPECT_TRUE(contains(run_error(read), "does not begin with the header"));
}

}  // namespace
}  // namespace qstep
