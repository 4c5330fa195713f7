#include "train/feed.h"

#include <cmath>

#include "engine/error.h"

namespace qstep {

namespace {

class HostFeed : public Feed {
  public:
    HostFeed(Session& session, const DataSplits& data) : session_(session) {
        const SessionSettings& s = session.settings();
        if (s.train_batch > 0)
            train_.emplace(data.train, LoaderSettings{s.train_batch, s.seed, s.precision, true});
        if (s.test_batch > 0)
            test_.emplace(data.test, LoaderSettings{s.test_batch, s.seed, s.precision, false});
    }

    void start_epoch(const EpochStart& start) override {
        start_ = start;
        step_ = start.epoch * train_.value().batches_per_epoch() + start.batch;
        session_.set_training_sums({start.sums.loss, start.sums.right});
        train_->start(static_cast<std::uint32_t>(start.epoch), start.batch);
        fault_.reset();
    }
    std::int64_t train(std::int64_t) override {
        const Batch batch = train_.value().next().value();
        const float rate = start_.rates.at(static_cast<std::size_t>(start_.batch++));
        session_.train(batch, step_, rate);
        const float loss = session_.loss();
        const std::string parameter = session_.non_finite_gradient();
        const double variance = session_.variance();
        if (!fault_ && (!parameter.empty() || !std::isfinite(loss) || std::isnan(variance)))
            fault_ = Fault{step_, parameter, loss};
        start_.sums.variance += variance;
        ++step_;
        return 1;
    }
    bool runs_ahead() const override { return false; }
    Look look() override {
        const Sums sums = session_.training_sums();
        return {{sums.loss, sums.right, start_.sums.variance}, fault_};
    }
    void start_evaluation() override {
        session_.reset_evaluation_sums();
        test_.value().start(0);
    }
    std::int64_t evaluate_next() override {
        const auto batch = test_.value().next();
        if (!batch) return 0;
        session_.evaluate(*batch);
        return batch->size();
    }

  private:
    Session& session_;
    std::optional<BatchLoader> train_, test_;
    EpochStart start_;  // moves along with the steps
    std::int64_t step_ = 0;
    std::optional<Fault> fault_;
};

class ResidentFeed : public Feed {
  public:
    explicit ResidentFeed(Session& session) : session_(session) {}

    void start_epoch(const EpochStart& start) override {
        Ledger ledger;
        ledger.loss = start.sums.loss;
        ledger.right = start.sums.right;
        ledger.variance = start.sums.variance;
        session_.start_epoch(start.epoch, start.batch, start.rates, ledger);
    }
    std::int64_t train(std::int64_t most) override { return session_.train_next(most); }
    bool runs_ahead() const override { return true; }
    Look look() override {
        const Ledger ledger = session_.ledger();
        Look look{{ledger.loss, ledger.right, ledger.variance}, {}};
        if (ledger.fault_step >= 0)
            look.fault = Fault{
                ledger.fault_step,
                ledger.fault_element < 0 ? "" : session_.parameters().parameter_at(ledger.fault_element).name,
                ledger.fault_loss};
        return look;
    }
    void start_evaluation() override { session_.start_evaluation(); }
    std::int64_t evaluate_next() override { return session_.evaluate_next(); }

  private:
    Session& session_;
};

}  // namespace

std::unique_ptr<Feed> make_feed(Session& session, const DataSplits& data) {
    if (session.settings().resident != nullptr) return std::make_unique<ResidentFeed>(session);
    return std::make_unique<HostFeed>(session, data);
}

}  // namespace qstep
