#include "train/session.h"

#include <cmath>

namespace qstep {

Session::Session(Context& context, const SessionSettings& settings)
    : context_(context),
      settings_(settings),
      model_(make_model(settings.model, parameters_)),
      persistent_(context.device(), "persistent arena"),
      activations_(context.device(), "step arena") {
    settings_.codec.seed = settings.seed;
    optimizer_ = std::make_unique<Optimizer>(context, settings_.codec, settings.sgd,
                                             parameters_.parameter_count(), settings.keep_quantized);
    // The first layout only measures; its addresses are never touched.
    lay_out();
    persistent_.commit();
    activations_.commit();
    lay_out();
    context.workspace().freeze();
    for (Prepared* prepared : {&train_, &train_partial_}) capture(*prepared, true);
    for (Prepared* prepared : {&test_, &test_partial_}) capture(*prepared, false);
    parameters_.initialize(context, settings.seed);
    backend().fill_zero(context, optimizer_->variance().data, optimizer_->variance().bytes());
    set_training_sums({});
    reset_evaluation_sums();
}

void Session::lay_out() {
    parameters_.allocate(persistent_);
    optimizer_->allocate(persistent_);
    state_.learning_rate = persistent_.allocate(DType::f32, {1});
    state_.step = persistent_.allocate(DType::i64, {1});
    training_sums_ = persistent_.allocate(DType::f64, {2});
    evaluation_sums_ = persistent_.allocate(DType::f64, {2});
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
    const DropoutSource dropout{settings_.seed, state_.step, settings_.dropout};
    prepared.network =
        std::make_unique<Network>(context_, activations_, *model_, batch, settings_.precision, training,
                                  dropout, training ? training_sums_ : evaluation_sums_);
    return prepared;
}

void Session::capture(Prepared& prepared, bool training) {
    if (!prepared.network) return;
    Network* network = prepared.network.get();
    prepared.step = backend().capture(context_, [this, network, training](Context& context) {
        network->forward();
        if (!training) return;
        network->backward();
        optimizer_->step(context, parameters_, state_);
    });
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
    backend().copy_in(context_, state_.step.data, &step, sizeof step);
    backend().copy_in(context_, state_.learning_rate.data, &learning_rate, sizeof learning_rate);
    last_trained_ = batch.size();
    run(train_, train_partial_, batch);
}

void Session::evaluate(const Batch& batch) {
    run(test_, test_partial_, batch);
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

std::string Session::non_finite_gradient() {
    // A codec reports it through the variance, which spares a pass over the gradient.
    if (optimizer_->quantizes() && !std::isnan(variance())) return "";
    const std::int64_t index = first_non_finite(context_, parameters_.gradients());
    return index < 0 ? "" : parameters_.parameter_at(index).name;
}

std::string Session::non_finite_weight() {
    const std::int64_t index = first_non_finite(context_, parameters_.values());
    return index < 0 ? "" : parameters_.parameter_at(index).name;
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
