#include "train/trainer.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"

namespace qstep {

namespace {

double percent(double right, std::int64_t images) {
    return 100.0 * right / static_cast<double>(images);
}

LoaderSettings loader_settings(const Options& options, bool training) {
    return {training ? options.batch_size : options.test_batch_size, options.seed, options.precision,
            training};
}

}  // namespace

Evaluation evaluate(Session& session, BatchLoader& loader, const StopSignals* signals, bool& complete) {
    session.reset_evaluation_sums();
    std::int64_t images = 0;
    complete = false;
    loader.start(0);
    while (const auto batch = loader.next()) {
        session.evaluate(*batch);
        images += batch->size();
        if (signals != nullptr && signals->received() != 0) return {};
    }
    complete = true;
    const Sums sums = session.evaluation_sums();
    return {sums.loss / static_cast<double>(images), percent(sums.right, images)};
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
    return settings;
}

Trainer::Trainer(Session& session, const DataSplits& data, const Options& options, const RunFolder& folder,
                 const Progress& progress)
    : session_(session),
      options_(options),
      folder_(folder),
      progress_(progress),
      train_loader_(data.train, loader_settings(options, true)),
      test_loader_(data.test, loader_settings(options, false)),
      schedule_{options.lr_schedule, options.lr, options.milestones, options.epochs,
                train_loader_.batches_per_epoch()},
      metrics_(folder.metrics()),
      console_(options.epochs, train_loader_.batches_per_epoch(), options.log_interval) {
    const std::int64_t batches = train_loader_.batches_per_epoch();
    if (progress.batch > batches || progress.step != progress.epoch * batches + progress.batch)
        fail_run(
            "the checkpoint is at step {} of epoch {}, step {} in all, which does not fit {} training images "
            "in "
            "batches of {}",
            progress.batch, progress.epoch + 1, progress.step, data.train.count(), options.batch_size);
    // A run that was stopped while it evaluated its last epoch has all its steps and still that to do.
    if (progress.step > 0 && at_step_limit() && progress.batch < batches)
        fail_usage("{} already is at step {}; --max-steps must be larger", options.resume, progress.step);
    metrics_.keep_epochs(progress.epoch);
    session_.set_training_sums({progress.loss_sum, progress.right});
    if (progress.step > 0) {
        lr_ = learning_rate(schedule_, progress.step - 1);
        saved_step_ = progress.step;
        saved_epoch_ = progress.epoch;
    }
}

std::int64_t Trainer::last_step() const {
    const std::int64_t all = options_.epochs * train_loader_.batches_per_epoch();
    return options_.max_steps > 0 ? std::min(all, options_.max_steps) : all;
}

RunEnd Trainer::run(const StopSignals& signals) {
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
    train_loader_.start(static_cast<std::uint32_t>(progress_.epoch), progress_.batch);
    const double started = seconds_now();
    while (progress_.batch < train_loader_.batches_per_epoch()) {
        if (at_step_limit()) return EpochEnd::step_limit;
        step(train_loader_.next().value());
        epoch_seconds_ = seconds_now() - started;
        if (at_step_limit() && progress_.batch < train_loader_.batches_per_epoch())
            return EpochEnd::step_limit;
        if (signals.received() != 0) return EpochEnd::signal;
        if (console_.due(progress_)) {
            read_sums();
            console_.progress(progress_, progress_.loss_sum / static_cast<double>(progress_.images),
                              percent(progress_.right, progress_.images), lr_);
        }
    }
    return EpochEnd::complete;
}

void Trainer::step(const Batch& batch) {
    lr_ = learning_rate(schedule_, progress_.step);
    session_.train(batch, progress_.step, static_cast<float>(lr_));
    check_finite(session_.loss());
    ++progress_.step;
    ++progress_.batch;
    progress_.images += batch.size();
    progress_.variance_sum += session_.variance();
    epoch_images_ += batch.size();
}

void Trainer::check_finite(float loss) {
    const std::string parameter = session_.non_finite_gradient();
    if (parameter.empty() && std::isfinite(loss)) return;
    const std::string what = parameter.empty()
                                 ? fmt::format("the loss is {}", loss)
                                 : fmt::format("the gradient of {} is not finite (loss {})", parameter, loss);
    fail_run("{} in step {} (epoch {}): a smaller --lr may help; {}", what, progress_.step + 1,
             progress_.epoch + 1, what_is_kept());
}

std::string Trainer::what_is_kept() const {
    return saved_step_ < 0
               ? "no checkpoint was written yet"
               : fmt::format("{} still holds step {}", folder_.checkpoint().string(), saved_step_);
}

void Trainer::read_sums() {
    const Sums sums = session_.training_sums();
    progress_.loss_sum = sums.loss;
    progress_.right = sums.right;
}

// False when a signal came before the evaluation was through.
bool Trainer::finish_epoch(const StopSignals& signals) {
    read_sums();
    const double started = seconds_now();
    bool complete = false;
    const Evaluation test = evaluate(session_, test_loader_, &signals, complete);
    if (!complete) return false;
    if (!std::isfinite(test.loss))
        fail_run("the loss on the test images is {} after epoch {}; {}", test.loss, progress_.epoch + 1,
                 what_is_kept());
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
    session_.set_training_sums({});

    const double speed = epoch_seconds_ > 0.0 ? static_cast<double>(epoch_images_) / epoch_seconds_ : 0.0;
    const double seconds = epoch_seconds_ + seconds_now() - started;
    console_.epoch(row, seconds, speed);
    metrics_.add(row, seconds, speed);
    if (options_.save_every > 0 && progress_.epoch % options_.save_every == 0) save();
    return true;
}

void Trainer::save() {
    const std::string parameter = session_.non_finite_weight();
    if (!parameter.empty())
        fail_run("{} is not finite after step {}: a smaller --lr may help; {}", parameter, progress_.step,
                 what_is_kept());
    read_sums();
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
        const Evaluation test = evaluate(session_, test_loader_, &signals, complete);
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

}  // namespace qstep
