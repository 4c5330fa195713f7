#include "train/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

#include "train/options.h"

namespace qstep {

namespace {

constexpr double kRefreshSeconds = 0.2;

std::string duration(double seconds) {
    const auto whole = static_cast<std::int64_t>(seconds + 0.5);
    if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
    return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void say(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
}

Console::Console(std::int64_t epochs, std::int64_t batches, std::int64_t log_interval)
    : epochs_(epochs),
      batches_(batches),
      log_interval_(log_interval),
      terminal_(isatty(STDOUT_FILENO) == 1) {}

void Console::start(const Progress& progress, std::int64_t last_step) {
    started_ = shown_ = seconds_now();
    first_step_ = progress.step;
    last_step_ = last_step;
    epoch_shown_ = progress.epoch;
    images_shown_ = progress.images;
}

bool Console::due(const Progress& progress) const {
    if (terminal_) return seconds_now() - shown_ >= kRefreshSeconds || progress.batch == batches_;
    return progress.batch % log_interval_ == 0;
}

void Console::progress(const Progress& progress, double loss, double accuracy, double lr) {
    const double now = seconds_now();
    // A new epoch begins to count its images from 0.
    if (progress.epoch != epoch_shown_) images_shown_ = 0;
    const double speed = static_cast<double>(progress.images - images_shown_) / (now - shown_);
    const double per_step = (now - started_) / static_cast<double>(progress.step - first_step_);
    std::string text = fmt::format(
        "epoch {}/{}  step {}/{}  loss {:.4f}  accuracy {:.2f} %  lr {:.4g}  {:.0f} images/s  {} left",
        progress.epoch + 1, epochs_, progress.batch, batches_, loss, accuracy, lr, speed,
        duration(per_step * static_cast<double>(last_step_ - progress.step)));
    if (terminal_) {
        // A line that wraps could not be overwritten.
        winsize window{};
        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1 &&
            text.size() >= window.ws_col)
            text.resize(window.ws_col - 1);
        say("\r\x1b[K" + text);
    } else {
        say(text + "\n");
    }
    live_ = terminal_;
    shown_ = now;
    epoch_shown_ = progress.epoch;
    images_shown_ = progress.images;
}

void Console::line(const std::string& text) {
    say((live_ ? "\r\x1b[K" : "") + text + "\n");
    live_ = false;
}

void Console::epoch(const EpochMetrics& m, double seconds, double images_per_second) {
    line(
        fmt::format("epoch {}/{}  train loss {:.4f} accuracy {:.2f} %  test loss {:.4f} accuracy {:.2f} %  "
                    "lr {:.4g}  variance {:.4g}  {:.1f} s  {:.0f} images/s",
                    m.epoch, epochs_, m.train_loss, m.train_accuracy, m.test_loss, m.test_accuracy, m.lr,
                    m.variance, seconds, images_per_second));
    shown_ = seconds_now();
}

void print_configuration(const nlohmann::ordered_json& configuration) {
    for (const auto& item : configuration.items())
        say(fmt::format("  {:<20}{}\n", item.key(), as_text(item.value())));
}

}  // namespace qstep
