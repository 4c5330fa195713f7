#include "train/session.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace qstep {

namespace {

// So many steps go into one launch. Longer ones spare little more, and a signal waits for their end.
constexpr int kStepsAtOnce = 10;

}  // namespace

Session::Session(Context& context, const SessionSettings& settings)
    : context_(context),
      settings_(settings),
      model_(make_model(settings.model, parameters_)),
      persistent_(context.device(), "persistent arena",
                  settings.resident
                      ? "the images and the parameters lie there: a smaller --model or fewer images "
                        "in --data need less, and --device cuda:N takes another GPU"
                      : "a smaller --model needs less"),
      activations_(context.device(), "step arena",
                   "a smaller --batch-size or --test-batch-size, or --precision bf16, needs less") {
    context.workspace().set_usual_remedy("a smaller --batch-size or --test-batch-size needs less");
    settings_.codec.seed = settings.seed;
    optimizer_ = std::make_unique<Optimizer>(context, settings_.codec, settings.sgd,
                                             parameters_.parameter_count(), settings.keep_quantized);
    if (settings_.codec.error_feedback) parameters_.keep_residual();
    make_resident_sets();
    // The first layout only measures; its addresses are never touched.
    lay_out();
    persistent_.commit();
    activations_.commit();
    lay_out();
    context.workspace().freeze();
    make_ready_for_capture();
    const std::int64_t whole = train_set_ ? settings_.train_count / settings_.train_batch : 1;
    capture(train_, true, static_cast<int>(std::min<std::int64_t>(whole, kStepsAtOnce)));
    capture(train_partial_, true, 1);
    for (Prepared* prepared : {&test_, &test_partial_}) capture(*prepared, false, 1);
    parameters_.initialize(context, settings.seed);
    backend().fill_zero(context, optimizer_->variance().data, optimizer_->variance().bytes());
    set_training_sums({});
    reset_evaluation_sums();
}

void Session::make_resident_sets() {
    if (settings_.resident == nullptr) return;
    const auto make = [this](auto& set, const Dataset& data, std::int64_t batch, bool training) {
        if (batch > 0)
            set.emplace(data, LoaderSettings{batch, settings_.seed, settings_.precision, training});
    };
    make(train_set_, settings_.resident->train, settings_.train_batch, true);
    make(test_set_, settings_.resident->test, settings_.test_batch, false);
}

void Session::make_ready_for_capture() {
    backend().copy_in(context_, state_.seed.data, &settings_.seed, sizeof settings_.seed);
    for (auto* set : {&train_set_, &test_set_})
        if (*set) (*set)->upload(context_);
    for (Prepared* prepared : {&train_, &train_partial_, &test_, &test_partial_})
        if (prepared->network) {
            const Tensor labels = prepared->network->labels();
            backend().fill_zero(context_, labels.data, labels.bytes());
        }
}

void Session::lay_out() {
    parameters_.allocate(context_, persistent_, settings_.precision);
    optimizer_->allocate(persistent_, parameters_);
    state_.learning_rate = persistent_.allocate(DType::f32, {1});
    state_.step = persistent_.allocate(DType::i64, {1});
    state_.seed = persistent_.allocate(DType::i64, {1});
    ledger_ = persistent_.allocate(DType::u8, {static_cast<std::int64_t>(sizeof(Ledger))});
    const auto part = [this](std::size_t offset, DType dtype, std::int64_t count) {
        return Tensor{static_cast<std::byte*>(ledger_.data) + offset, dtype, {count}};
    };
    training_sums_ = part(offsetof(Ledger, loss), DType::f64, 2);
    variance_sum_ = part(offsetof(Ledger, variance), DType::f64, 1);
    fault_ = part(offsetof(Ledger, fault_step), DType::i64, 2);
    fault_loss_ = part(offsetof(Ledger, fault_loss), DType::f32, 1);
    evaluation_sums_ = persistent_.allocate(DType::f64, {2});
    for (auto* set : {&train_set_, &test_set_})
        if (*set) (*set)->allocate(persistent_);
    if (train_set_) rates_ = persistent_.allocate(DType::f32, {train_set_->batches_per_epoch()});
    const auto whole = [](std::int64_t count, std::int64_t batch) { return count >= batch ? batch : 0; };
    const auto rest = [](std::int64_t count, std::int64_t batch) { return batch > 0 ? count % batch : 0; };
    train_ = prepare(whole(settings_.train_count, settings_.train_batch), true);
    train_partial_ = prepare(rest(settings_.train_count, settings_.train_batch), true);
    test_ = prepare(whole(settings_.test_count, settings_.test_batch), false);
    test_partial_ = prepare(rest(settings_.test_count, settings_.test_batch), false);
}

Session::Prepared Session::prepare(std::int64_t batch, bool training) {
    Prepared prepared;
    if (batch == 0) return prepared;
    // No two networks run at the same time, so all of them start at the same address.
    activations_.rewind(0);
    const DropoutSource dropout{state_.seed, state_.step, settings_.dropout};
    prepared.network =
        std::make_unique<Network>(context_, activations_, *model_, parameters_, batch, settings_.precision,
                                  training, dropout, training ? training_sums_ : evaluation_sums_);
    return prepared;
}

void Session::capture(Prepared& prepared, bool training, int at_once) {
    if (!prepared.network) return;
    Network* network = prepared.network.get();
    const std::optional<ResidentSet>& set = training ? train_set_ : test_set_;
    const auto step = [this, network, training, &set](Context& context) {
        if (set) set->gather(context, network->images(), network->labels());
        network->forward();
        if (training) {
            network->backward();
            optimizer_->step(context, parameters_, state_);
            if (set) end_step(context, step_end(*network));
        } else if (set) {
            advance_counters(context, set->batch_number());
        }
    };
    prepared.step = backend().capture(context_, step, at_once);
}

StepEnd Session::step_end(const Network& network) const {
    StepEnd end;
    end.loss = network.loss();
    end.variance = optimizer_->variance();
    end.gradient = parameters_.gradients();
    end.variance_sum = variance_sum_;
    end.fault = fault_;
    end.fault_loss = fault_loss_;
    end.step = state_.step;
    end.batch = train_set_->batch_number();
    end.rates = rates_;
    end.learning_rate = state_.learning_rate;
    return end;
}

Session::Prepared& Session::of_size(Prepared& whole, Prepared& partial, std::int64_t batch) {
    for (Prepared* prepared : {&whole, &partial})
        if (prepared->network && prepared->network->batch() == batch) return *prepared;
    QSTEP_CHECK(false, "no network is laid out for a batch of {} images", batch);
}

void Session::run(Prepared& whole, Prepared& partial, const Batch& batch) {
    Prepared& prepared = of_size(whole, partial, batch.size());
    const Tensor images = prepared.network->images(), labels = prepared.network->labels();
    check_tensor(batch.images, "batch of images", images.dtype, images.shape);
    check_tensor(batch.labels, "batch of labels", labels.dtype, labels.shape);
    backend().copy_in(context_, images.data, batch.images.data, images.bytes());
    backend().copy_in(context_, labels.data, batch.labels.data, labels.bytes());
    prepared.step->launch(1);
}

void Session::train(const Batch& batch, std::int64_t step, float learning_rate) {
    QSTEP_CHECK(!train_set_, "the training images are resident");
    backend().copy_in(context_, state_.step.data, &step, sizeof step);
    backend().copy_in(context_, state_.learning_rate.data, &learning_rate, sizeof learning_rate);
    last_trained_ = batch.size();
    run(train_, train_partial_, batch);
}

void Session::evaluate(const Batch& batch) {
    QSTEP_CHECK(!test_set_, "the test images are resident");
    run(test_, test_partial_, batch);
}

void Session::start_epoch(std::int64_t epoch, std::int64_t batch, std::span<const float> rates,
                          const Ledger& ledger) {
    QSTEP_CHECK(train_set_, "the training images are not resident");
    const std::int64_t batches = train_set_->batches_per_epoch(), step = epoch * batches + batch;
    QSTEP_CHECK(static_cast<std::int64_t>(rates.size()) == batches, "{} learning rates for {} batches",
                rates.size(), batches);
    train_set_->start(context_, epoch, batch);
    backend().copy_in(context_, rates_.data, rates.data(), rates_.bytes());
    backend().copy_in(context_, state_.step.data, &step, sizeof step);
    const float rate = rates[static_cast<std::size_t>(std::min(batch, batches - 1))];
    backend().copy_in(context_, state_.learning_rate.data, &rate, sizeof rate);
    backend().copy_in(context_, ledger_.data, &ledger, sizeof ledger);
    next_train_ = batch;
}

std::int64_t Session::train_next(std::int64_t most) {
    QSTEP_CHECK(train_set_ && most >= 1 && next_train_ < train_set_->batches_per_epoch(),
                "no step of this epoch is left");
    last_trained_ = train_set_->size_of_batch(next_train_);
    const bool whole = last_trained_ == settings_.train_batch;
    const std::int64_t left = settings_.train_count / settings_.train_batch - next_train_;
    const std::int64_t steps = whole ? std::min({most, left, std::int64_t{kStepsAtOnce}}) : 1;
    of_size(train_, train_partial_, last_trained_).step->launch(static_cast<int>(steps));
    next_train_ += steps;
    return steps;
}

Ledger Session::ledger() {
    Ledger values;
    static_assert(sizeof values == 48 && std::is_trivially_copyable_v<Ledger>);
    backend().copy_out(context_, &values, ledger_.data, sizeof values);
    return values;
}

void Session::start_evaluation() {
    reset_evaluation_sums();
    test_set_.value().start(context_, 0, 0);
    next_test_ = 0;
}

std::int64_t Session::evaluate_next() {
    if (next_test_ == test_set_.value().batches_per_epoch()) return 0;
    const std::int64_t size = test_set_->size_of_batch(next_test_++);
    of_size(test_, test_partial_, size).step->launch(1);
    return size;
}

float Session::loss() {
    float value = 0.0f;
    backend().copy_out(context_, &value, training_network(last_trained_).loss().data, sizeof value);
    return value;
}

double Session::variance() {
    double value = 0.0;
    backend().copy_out(context_, &value, optimizer_->variance().data, sizeof value);
    return value;
}

std::vector<float> Session::to_host(const Tensor& flat) {
    std::vector<float> values(static_cast<std::size_t>(flat.count()));
    backend().copy_out(context_, values.data(), flat.as<float>(), flat.bytes());
    return values;
}

std::vector<float> Session::gradient() {
    return to_host(parameters_.gradients());
}

std::vector<float> Session::applied_gradient() {
    if (!optimizer_->keeps_quantized()) {
        // Behind a step with resident data the number is that of the next one. Error feedback, which must not
        // run twice, keeps what it applies.
        std::int64_t next = 0;
        backend().copy_out(context_, &next, state_.step.data, sizeof next);
        const std::int64_t last = next - (train_set_ ? 1 : 0);
        backend().copy_in(context_, state_.step.data, &last, sizeof last);
        optimizer_->quantize(context_, parameters_, state_);
        backend().copy_in(context_, state_.step.data, &next, sizeof next);
    }
    return to_host(optimizer_->applied_gradient(parameters_));
}

std::string Session::non_finite_gradient() {
    // A codec reports it through the variance, which spares a pass over the gradient.
    if (optimizer_->reports_non_finite() && !std::isnan(variance())) return "";
    const std::int64_t index = first_non_finite(context_, parameters_.gradients());
    return index < 0 ? "" : parameters_.parameter_at(index).name;
}

std::string Session::non_finite_state() {
    for (const auto& [what, tensor] :
         {std::pair{"", parameters_.values()}, {"the residual of ", parameters_.residual()}}) {
        const std::int64_t index = tensor ? first_non_finite(context_, tensor) : -1;
        if (index >= 0) return fmt::format("{}{}", what, parameters_.parameter_at(index).name);
    }
    return "";
}

Network& Session::training_network(std::int64_t batch) {
    return *of_size(train_, train_partial_, batch).network;
}

Sums Session::read_sums(const Tensor& sums) {
    Sums values;
    static_assert(sizeof values == 2 * sizeof(double));
    backend().copy_out(context_, &values, sums.data, sizeof values);
    return values;
}

Sums Session::training_sums() {
    return read_sums(training_sums_);
}

void Session::set_training_sums(const Sums& sums) {
    backend().copy_in(context_, training_sums_.data, &sums, sizeof sums);
}

Sums Session::evaluation_sums() {
    return read_sums(evaluation_sums_);
}

void Session::reset_evaluation_sums() {
    backend().fill_zero(context_, evaluation_sums_.data, evaluation_sums_.bytes());
}

std::size_t Session::memory() const {
    return persistent_.capacity() + activations_.capacity() + context_.workspace().capacity();
}

}  // namespace qstep
