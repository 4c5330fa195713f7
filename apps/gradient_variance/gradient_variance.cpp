// The variance that gradient codecs add to the gradients of a training; --help lists the options.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "apps/gradient_variance/options.h"
#include "apps/gradient_variance/report.h"
#include "data/source.h"
#include "engine/atomic_file.h"
#include "engine/backend.h"
#include "engine/program.h"
#include "quant/codec_options.h"
#include "train/console.h"
#include "train/trainer.h"

namespace {

using namespace qstep;
using Json = nlohmann::ordered_json;

std::int64_t parameter_count(const std::string& model) {
    ParameterStore undone;
    make_model(model, undone);
    return undone.parameter_count();
}

// All codecs of the study, on the same gradient.
class Codecs {
  public:
    /// Before the session, which fixes the size of the context's workspace.
    Codecs(Context& context, const VarianceOptions& options, std::int64_t count)
        : context_(context), memory_(context.device(), "arena of the study") {
        for (StudiedCodec codec : options.codecs) {
            codec.settings.seed = options.run.seed;
            codecs_.push_back(make_codec(context, codec.settings, count));
        }
        for (const bool measuring : {true, false}) {
            out_ = memory_.allocate(DType::f32, {count});
            step_ = memory_.allocate(DType::i64, {1});
            variance_ = memory_.allocate(DType::f64, {1});
            if (measuring) memory_.commit();
        }
        host_.resize(static_cast<std::size_t>(count));
    }

    void measure(const Tensor& gradient, std::int64_t step, MeasuredStep& measured) {
        Backend& device = backend(context_.device());
        device.copy_in(context_, step_.data, &step, sizeof step);
        for (const auto& codec : codecs_) {
            codec->quantize(context_, out_, gradient, step_, variance_);
            device.copy_out(context_, &measured.variances.emplace_back(), variance_.data, sizeof(double));
        }
        device.copy_out(context_, host_.data(), gradient.data, gradient.bytes());
        measured.squared_norm = std::transform_reduce(host_.begin(), host_.end(), 0.0, std::plus{},
                                                      [](double x) { return x * x; });
    }

  private:
    Context& context_;
    std::vector<std::unique_ptr<GradientCodec>> codecs_;
    Arena memory_;
    Tensor out_, step_, variance_;
    std::vector<float> host_;
};

// The original's training: one gradient a step, applied as it is.
class Training {
  public:
    Training(Session& session, const DataSplits& data, const Options& options)
        : feed_(make_feed(session, data)),
          batches_((data.train.count() + options.batch_size - 1) / options.batch_size),
          schedule_{options.lr_schedule, options.lr, options.milestones, options.epochs, batches_} {}

    /// Does step `step`; the steps before are done. The gradient it applied is then the session's.
    void run(std::int64_t step) {
        if (step % batches_ == 0) start_epoch(step / batches_);
        feed_->train(1);
        if (const auto fault = feed_->look().fault)
            fail_run("the gradient of step {} is not finite; a smaller --lr may help", fault->step + 1);
    }

  private:
    void start_epoch(std::int64_t epoch) {
        std::vector<float> rates;
        for (std::int64_t batch = 0; batch < batches_; ++batch)
            rates.push_back(static_cast<float>(learning_rate(schedule_, epoch * batches_ + batch)));
        feed_->start_epoch({epoch, 0, std::move(rates), {}});
    }

    std::unique_ptr<Feed> feed_;
    std::int64_t batches_;
    Schedule schedule_;
};

// Ends early, with what it has, where a signal came.
VarianceStudy study(const VarianceOptions& options, Context& context, const DataSplits& data,
                    const StopSignals& signals) {
    Codecs codecs(context, options, parameter_count(options.run.model));
    SessionSettings settings = session_settings(options.run, data);
    settings.test_batch = 0;
    Session session(context, settings);
    Training training(session, data, options.run);
    VarianceStudy result{options.codecs, {}};
    const double started = seconds_now();
    for (std::int64_t step = 0; step < options.steps && (step == 0 || signals.received() == 0); ++step) {
        training.run(step);
        MeasuredStep& measured = result.steps.emplace_back();
        measured.loss = session.loss();
        codecs.measure(session.parameters().gradients(), step, measured);
        if ((step + 1) % 50 == 0 || step + 1 == options.steps)
            say(fmt::format("step {}/{}  loss {:.4f}  {:.1f} s\n", step + 1, options.steps, measured.loss,
                            seconds_now() - started));
    }
    return result;
}

Json configuration(const VarianceOptions& options, std::size_t steps, const DataSplits& data,
                   const Context& context) {
    Json codecs = Json::object();
    for (const StudiedCodec& codec : options.codecs)
        for (const CodecOption& option : codec_options())
            codecs[codec.label][option.name] =
                std::visit([](const auto& value) { return Json(value); }, option.get(codec.settings));
    return {{"steps", steps},
            {"model", options.run.model},
            {"data", data.train.name},
            {"batch-size", options.run.batch_size},
            {"lr", options.run.lr},
            {"momentum", options.run.momentum},
            {"weight-decay", options.run.weight_decay},
            {"seed", options.run.seed},
            {"precision", precision_name(options.run)},
            {"threads", context.threads()},
            {"device", backend(context.device()).description()},
            {"codecs", codecs}};
}

int run(const std::vector<std::string>& arguments) {
    const VarianceOptions options = parse_variance_options(arguments);
    if (!options.help.empty()) {
        say(options.help);
        return 0;
    }
    Context context(parse_device(options.run.device), static_cast<int>(options.run.threads),
                    {options.run.deterministic, options.run.tf32});
    const DataSource source = open_data(options.run.data);
    for (const std::string& note : source.notes) say(note + "\n");
    const RunFolder folder = make_run_folder(options.run.output, "gradient_variance-" + options.run.model);
    const StopSignals signals;
    const VarianceStudy result = study(options, context, source.splits, signals);
    const std::string table = variance_table(result);
    const auto in_folder = [&folder](const char* name) { return folder.path / name; };
    write_text_file(in_folder("variance.csv"), variance_csv(result));
    write_text_file(in_folder("averages.csv"), averages_csv(result));
    write_text_file(in_folder("variance.md"), table);
    write_text_file(folder.configuration(),
                    configuration(options, result.steps.size(), source.splits, context).dump(2) + "\n");
    say("\n" + table);
    if (signals.received() != 0)
        say(fmt::format("\nstopped after step {} of {}, on which all this stands\n", result.steps.size(),
                        options.steps));
    say(
        fmt::format("\nwritten: {0}/config.json, variance.csv, averages.csv, variance.md\nplots:   "
                    "scripts/plot_variance.py {0}\n",
                    folder.path.string()));
    return signals.received() == 0 ? 0 : 128 + signals.received();
}

}  // namespace

int main(int argc, char** argv) {
    return qstep::program_main("gradient_variance", argc, argv, run);
}
