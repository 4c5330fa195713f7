#include "train/trainer.h"

#include <algorithm>
#include <cmath>

#include "data/fingerprint.h"
#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/input_file.h"
#include "train/report/report_page.h"

namespace qstep {

namespace {

double percent(double right, std::int64_t images) {
    return 100.0 * right / static_cast<double>(images);
}

// The sign of a NaN says nothing.
double without_sign_of_nan(double value) {
    return std::isnan(value) ? std::fabs(value) : value;
}

// Steps that a feed may run ahead of the host. What is under way must end before a signal is obeyed.
constexpr std::int64_t kMostUnseen = 100;

// Refuses to go on with other data than those of the steps so far; then `progress` names these.
void settle_data(Progress& progress, const DataSplits& data) {
    const std::string images = fmt::format("{} {}", data.train.count(), data.train.name);
    if (progress.step > 0 && progress.data != images)
        fail_run("the checkpoint was trained on {}, which are not these {}", shown(progress.data), images);
    const std::string content = fingerprint(data);
    if (progress.step > 0 && !progress.fingerprint.empty() && progress.fingerprint != content)
        fail_run(
            "the checkpoint was trained or tested on other images or labels than these {} and {} {}; it goes "
            "on with its own data alone",
            images, data.test.count(), data.test.name);
    progress.data = images;
    progress.fingerprint = content;
}

}  // namespace

Evaluation evaluate(Session& session, Feed& feed, const StopSignals* signals, bool& complete) {
    std::int64_t images = 0;
    complete = false;
    feed.start_evaluation();
    while (const std::int64_t evaluated = feed.evaluate_next()) {
        images += evaluated;
        if (signals != nullptr && signals->received() != 0) return {};
    }
    complete = true;
    const Sums sums = session.evaluation_sums();
    return {without_sign_of_nan(sums.loss / static_cast<double>(images)), percent(sums.right, images)};
}

SessionSettings session_settings(const Options& options, const DataSplits& data) {
    SessionSettings settings;
    settings.model = options.model;
    settings.precision = options.precision;
    settings.codec = options.codec;
    settings.sgd = {static_cast<float>(options.momentum), static_cast<float>(options.weight_decay),
                    options.nesterov};
    settings.seed = options.seed;
    settings.train_batch = options.batch_size;
    settings.test_batch = options.test_batch_size;
    settings.train_count = data.train.count();
    settings.test_count = data.test.count();
    if (parse_device(options.device).kind == DeviceKind::cuda) settings.resident = &data;
    return settings;
}

Trainer::Trainer(Session& session, std::unique_ptr<Feed> feed, const DataSplits& data, const Options& options,
                 const RunFolder& folder, const Progress& progress)
    : session_(session),
      options_(options),
      folder_(folder),
      progress_(progress),
      feed_(std::move(feed)),
      batches_((data.train.count() + options.batch_size - 1) / options.batch_size),
      schedule_{options.lr_schedule, options.lr, options.milestones, options.epochs, batches_},
      metrics_(folder.metrics()),
      console_(options.epochs, batches_, options.log_interval) {
    settle_data(progress_, data);
    if (progress.batch > batches_ || progress.step != progress.epoch * batches_ + progress.batch)
        fail_run(
            "the checkpoint is at step {} of epoch {}, step {} in all, which does not fit {} training images "
            "in "
            "batches of {}",
            progress.batch, progress.epoch + 1, progress.step, data.train.count(), options.batch_size);
    // A run that was stopped while it evaluated its last epoch has all its steps and still that to do.
    if (progress.step > 0 && at_step_limit() && progress.batch < batches_)
        fail_usage("{} already is at step {}; --max-steps must be larger", options.resume, progress.step);
    metrics_.keep_epochs(progress.epoch);
    if (progress.step > 0) {
        lr_ = learning_rate(schedule_, progress.step - 1);
        saved_step_ = progress.step;
        saved_epoch_ = progress.epoch;
    }
}

std::int64_t Trainer::last_step() const {
    const std::int64_t all = options_.epochs * batches_;
    return options_.max_steps > 0 ? std::min(all, options_.max_steps) : all;
}

RunEnd Trainer::run(const StopSignals& signals) {
    if (options_.tensorboard) log_.emplace(session_, options_, folder_.path, progress_, batches_);
    console_.start(progress_, last_step());
    while (progress_.epoch < options_.epochs) {
        const EpochEnd end = train_epoch(signals);
        if (end == EpochEnd::step_limit) break;
        if (end == EpochEnd::signal || !finish_epoch(signals)) {
            save();
            return RunEnd::stopped_by_signal;
        }
    }
    if (saved_step_ != progress_.step || saved_epoch_ != progress_.epoch) save();
    if (options_.save_model) save_model(folder_.model(), session_.context(), session_.parameters(), options_);
    return RunEnd::finished;
}

Trainer::EpochEnd Trainer::train_epoch(const StopSignals& signals) {
    epoch_seconds_ = 0.0;
    epoch_images_ = 0;
    start_epoch();
    const double started = seconds_now();
    std::int64_t unseen = 0;
    while (progress_.batch < batches_) {
        if (at_step_limit()) return EpochEnd::step_limit;
        unseen += train_some();
        const bool due = console_.due(progress_);
        const bool logs = log_ && log_->due(progress_);
        const bool stops = progress_.batch == batches_ || at_step_limit() || signals.received() != 0;
        if (feed_->runs_ahead() && !due && !logs && !stops && unseen < kMostUnseen) continue;
        look();
        if (logs) log_->steps(progress_, lr_);
        unseen = 0;
        epoch_seconds_ = seconds_now() - started;
        if (at_step_limit() && progress_.batch < batches_) return EpochEnd::step_limit;
        if (signals.received() != 0) return EpochEnd::signal;
        if (due)
            console_.progress(progress_, progress_.loss_sum / static_cast<double>(progress_.images),
                              percent(progress_.right, progress_.images), lr_);
    }
    return EpochEnd::complete;
}

void Trainer::start_epoch() {
    EpochStart start{
        progress_.epoch, progress_.batch, {}, {progress_.loss_sum, progress_.right, progress_.variance_sum}};
    for (std::int64_t batch = 0; batch < batches_; ++batch)
        start.rates.push_back(
            static_cast<float>(learning_rate(schedule_, progress_.epoch * batches_ + batch)));
    feed_->start_epoch(start);
    if (log_) log_->start_epoch(progress_);
}

std::int64_t Trainer::train_some() {
    std::int64_t most = options_.log_interval - progress_.batch % options_.log_interval;
    if (log_) most = std::min(most, log_->steps_to_histograms(progress_));
    const std::int64_t steps = feed_->train(std::min(most, last_step() - progress_.step));
    trained_ = true;
    const std::int64_t images = steps * session_.last_batch_size();
    progress_.step += steps;
    progress_.batch += steps;
    progress_.images += images;
    epoch_images_ += images;
    lr_ = learning_rate(schedule_, progress_.step - 1);
    return steps;
}

void Trainer::look() {
    const Feed::Look look = feed_->look();
    if (look.fault) fail(*look.fault);
    progress_.loss_sum = look.sums.loss;
    progress_.right = look.sums.right;
    progress_.variance_sum = look.sums.variance;
}

void Trainer::fail(const Fault& fault) const {
    const double loss = without_sign_of_nan(fault.loss);
    std::string what = fmt::format("the loss is {}", loss), helps = advice();
    if (!fault.parameter.empty()) {
        what = fmt::format("the gradient of {} is not finite (loss {})", fault.parameter, loss);
    } else if (std::isfinite(loss)) {
        what = "the residual of error feedback, which grows on codecs this coarse, is beyond float32";
        helps = "a smaller --ef-alpha or more --levels may help";
    }
    fail_run("{} in step {} (epoch {}): {}; {}", what, fault.step + 1, progress_.epoch + 1, helps,
             what_is_kept());
}

const char* Trainer::advice() const {
    // A residual that grows shows first in the weights that it moves, as a learning rate does.
    return options_.codec.error_feedback
               ? "a smaller --lr may help, or, because error feedback grows without bound on codecs that are "
                 "too coarse, a smaller --ef-alpha, a smaller --bucket-size or more --levels"
               : "a smaller --lr may help";
}

std::string Trainer::what_is_kept() const {
    return saved_step_ < 0
               ? "no checkpoint was written yet"
               : fmt::format("{} still holds step {}", folder_.checkpoint().string(), saved_step_);
}

// False when a signal came before the evaluation was through.
bool Trainer::finish_epoch(const StopSignals& signals) {
    const double started = seconds_now();
    bool complete = false;
    const Evaluation test = evaluate(session_, *feed_, &signals, complete);
    if (!complete) return false;
    if (!std::isfinite(test.loss))
        fail_run("the loss on the test images is {} after epoch {}: {}; {}", test.loss, progress_.epoch + 1,
                 advice(), what_is_kept());
    EpochMetrics row;
    row.epoch = progress_.epoch + 1;
    row.step = progress_.step;
    row.lr = lr_;
    row.train_loss = progress_.loss_sum / static_cast<double>(progress_.images);
    row.train_accuracy = percent(progress_.right, progress_.images);
    row.test_loss = test.loss;
    row.test_accuracy = test.accuracy;
    row.variance = progress_.variance_sum / static_cast<double>(progress_.batch);

    progress_.last = row;
    if (!progress_.best || row.test_accuracy > progress_.best->test_accuracy) progress_.best = row;
    progress_.epoch += 1;
    progress_.batch = progress_.images = 0;
    progress_.loss_sum = progress_.right = progress_.variance_sum = 0.0;

    const double speed = epoch_seconds_ > 0.0 ? static_cast<double>(epoch_images_) / epoch_seconds_ : 0.0;
    const double seconds = epoch_seconds_ + seconds_now() - started;
    console_.epoch(row, seconds, speed);
    metrics_.add(row, seconds, speed);
    if (log_) log_->epoch(row);
    if (options_.save_every > 0 && progress_.epoch % options_.save_every == 0) save();
    return true;
}

void Trainer::save() {
    const std::string broken = session_.non_finite_state();
    if (!broken.empty())
        fail_run("{} is not finite after step {}: {}; {}", broken, progress_.step, advice(), what_is_kept());
    save_checkpoint(folder_.checkpoint(), session_.context(), session_.parameters(), options_, progress_);
    saved_step_ = progress_.step;
    saved_epoch_ = progress_.epoch;
}

void Trainer::print_results(const StopSignals& signals) {
    console_.line("");
    console_.line(fmt::format("{:<28}{:>10}{:>12}", "", "loss", "accuracy"));
    const auto row = [this](const std::string& name, double loss, double accuracy) {
        console_.line(fmt::format("{:<28}{:>10.4f}{:>10.2f} %", name, loss, accuracy));
    };
    if (progress_.batch > 0) {
        row(fmt::format("train, epoch {} so far", progress_.epoch + 1),
            progress_.loss_sum / static_cast<double>(progress_.images),
            percent(progress_.right, progress_.images));
        bool complete = false;
        const Evaluation test = evaluate(session_, *feed_, &signals, complete);
        if (complete) row(fmt::format("test, after step {}", progress_.step), test.loss, test.accuracy);
    } else if (progress_.last) {
        row(fmt::format("train, epoch {}", progress_.last->epoch), progress_.last->train_loss,
            progress_.last->train_accuracy);
        row(fmt::format("test, epoch {}", progress_.last->epoch), progress_.last->test_loss,
            progress_.last->test_accuracy);
    }
    if (progress_.best)
        row(fmt::format("best test, epoch {}", progress_.best->epoch), progress_.best->test_loss,
            progress_.best->test_accuracy);
}

void Trainer::write_report() const {
    std::optional<GradientPicture> picture;
    if (trained_)
        picture = gradient_picture(
            progress_.step, session_.gradient(),
            session_.optimizer().quantizes() ? session_.applied_gradient() : std::vector<float>{});
    write_text_file(folder_.report(), report_page(read_run(folder_.path), picture));
}

void Trainer::write_report_of_failure(const std::string& sentence) const noexcept {
    try {
        const RunRecord run = read_run(folder_.path);
        if (!run.rows.empty()) write_text_file(folder_.report(), report_page(run, {}, sentence));
    } catch (const std::exception&) {
        // What broke the run, a full disk or memory, may well break its report.
    }
}

}  // namespace qstep
