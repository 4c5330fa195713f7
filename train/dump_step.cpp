#include "train/dump_step.h"

#include <cstring>

#include "engine/error.h"
#include "train/feed.h"
#include "train/safetensors.h"
#include "train/schedule.h"

namespace qstep {

namespace {

// Tensors on their way into the file; owns their bytes.
class Dump {
  public:
    explicit Dump(Context& context) : context_(context) {}

    // A device tensor of f32 or bf16, as f32.
    void add(const std::string& name, const Tensor& tensor, std::vector<std::int64_t> extents) {
        std::vector<std::byte> raw = fetch(tensor);
        add_floats(name, Tensor{raw.data(), tensor.dtype, tensor.shape}, std::move(extents));
    }
    void add(const std::string& name, const Tensor& tensor) { add(name, tensor, tensor.shape.extents()); }

    // Device images [N,H,W,C] as [N,C,H,W].
    void add_images(const std::string& name, const Tensor& images) {
        const std::int64_t n = images.shape[0], h = images.shape[1], w = images.shape[2], c = images.shape[3];
        std::vector<std::byte> raw = fetch(images);
        const std::vector<float> nhwc = floats({raw.data(), images.dtype, images.shape});
        std::vector<float> nchw(nhwc.size());
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t pixel = 0; pixel < h * w; ++pixel)
                for (std::int64_t channel = 0; channel < c; ++channel)
                    nchw[static_cast<std::size_t>((i * c + channel) * h * w + pixel)] =
                        nhwc[static_cast<std::size_t>((i * h * w + pixel) * c + channel)];
        keep(name, DType::f32, {n, c, h, w}, std::as_bytes(std::span(nchw)));
    }
    void add_labels(const std::string& name, const Tensor& labels) {
        const std::vector<std::byte> raw = fetch(labels);
        std::vector<std::int32_t> values(static_cast<std::size_t>(labels.count()));
        std::memcpy(values.data(), raw.data(), raw.size());
        const std::vector<std::int64_t> wide(values.begin(), values.end());
        keep(name, DType::i64, {labels.shape[0]}, std::as_bytes(std::span(wide)));
    }

    void write(const std::filesystem::path& path, const Metadata& metadata) const {
        std::vector<TensorToWrite> tensors = tensors_;
        for (std::size_t i = 0; i < tensors.size(); ++i) tensors[i].data = bytes_[i];
        write_safetensors(path, metadata, tensors);
    }

  private:
    std::vector<std::byte> fetch(const Tensor& tensor) const {
        std::vector<std::byte> raw(tensor.bytes());
        backend(context_.device()).copy_out(context_, raw.data(), tensor.data, raw.size());
        return raw;
    }
    static std::vector<float> floats(const Tensor& host) {
        std::vector<float> values;
        if (host.dtype == DType::f32) {
            const auto source = host.span<float>();
            values.assign(source.begin(), source.end());
        } else {
            for (const bf16 value : host.span<bf16>()) values.push_back(to_float(value));
        }
        return values;
    }
    void add_floats(const std::string& name, const Tensor& host, std::vector<std::int64_t> extents) {
        const std::vector<float> values = floats(host);
        keep(name, DType::f32, std::move(extents), std::as_bytes(std::span(values)));
    }
    void keep(const std::string& name, DType dtype, std::vector<std::int64_t> extents,
              std::span<const std::byte> data) {
        tensors_.push_back({name, dtype, std::move(extents), {}});
        bytes_.emplace_back(data.begin(), data.end());
    }

    Context& context_;
    std::vector<TensorToWrite> tensors_;
    std::vector<std::vector<std::byte>> bytes_;
};

void add_state(Dump& dump, const ParameterStore& store, const std::string& when) {
    for (const auto& parameter : store.parameters()) {
        dump.add("param_" + when + "." + parameter.name, parameter.value);
        dump.add("momentum_" + when + "." + parameter.name, parameter.momentum);
        if (store.residual()) dump.add("residual_" + when + "." + parameter.name, parameter.residual);
    }
    for (const auto& buffer : store.buffers()) dump.add("buffer_" + when + "." + buffer.name, buffer.value);
}

void add_results(Dump& dump, Session& session, std::int64_t batch) {
    const Network& network = session.training_network(batch);
    dump.add_images("input", network.images());
    dump.add_labels("labels", network.labels());
    dump.add("logits", network.logits());
    dump.add("loss", network.loss(), {});
    const Tensor applied = session.optimizer().applied_gradient(session.parameters());
    for (const auto& parameter : session.parameters().parameters()) {
        dump.add("grad." + parameter.name, parameter.grad);
        dump.add("quantized_grad." + parameter.name,
                 {applied.as<float>() + parameter.offset, DType::f32, parameter.value.shape});
    }
}

Metadata metadata_of(const Options& options, float lr, std::int64_t step) {
    return {{"format", kStepFormat},
            {"model", options.model},
            {"precision", precision_name(options)},
            {"lr", fmt::format("{}", lr)},
            {"momentum", fmt::format("{}", static_cast<float>(options.momentum))},
            {"weight_decay", fmt::format("{}", static_cast<float>(options.weight_decay))},
            {"nesterov", options.nesterov ? "1" : "0"},
            {"quant", name_of(options.codec.kind)},
            {"levels", std::to_string(options.codec.levels)},
            {"bucket_size", std::to_string(options.codec.bucket_size)},
            {"rounding", name_of(options.codec.rounding)},
            {"solver", name_of(options.codec.solver)},
            {"smart_candidates", fmt::format("{}", options.codec.smart_candidates_percent)},
            {"points", name_of(options.codec.points)},
            {"qsgd_norm", name_of(options.codec.qsgd_norm)},
            {"fixed_il", std::to_string(options.codec.fixed_il)},
            {"fixed_fl", std::to_string(options.codec.fixed_fl)},
            {"error_feedback", options.codec.error_feedback ? "1" : "0"},
            {"ef_alpha", fmt::format("{}", static_cast<float>(options.codec.ef_alpha))},
            {"ef_beta", fmt::format("{}", static_cast<float>(options.codec.ef_beta))},
            {"seed", std::to_string(options.seed)},
            {"step", std::to_string(step)},
            {"dropout", "0"}};
}

}  // namespace

void dump_step(const std::filesystem::path& path, Session& session, const DataSplits& data,
               const Options& options) {
    const auto feed = make_feed(session, data);
    const std::int64_t batches = (data.train.count() + options.batch_size - 1) / options.batch_size;
    if (options.max_steps > options.epochs * batches)
        fail_usage("--max-steps {} is more than the {} steps of {} epochs", options.max_steps,
                   options.epochs * batches, options.epochs);
    const Schedule schedule{options.lr_schedule, options.lr, options.milestones, options.epochs, batches};
    for (std::int64_t step = 0; step < options.max_steps; ++step) {
        if (step % batches == 0) {
            EpochStart start;
            start.epoch = step / batches;
            for (std::int64_t batch = 0; batch < batches; ++batch)
                start.rates.push_back(static_cast<float>(learning_rate(schedule, step + batch)));
            feed->start_epoch(start);
        }
        const bool last = step + 1 == options.max_steps;
        Dump dump(session.context());
        if (last) add_state(dump, session.parameters(), "before");
        feed->train(1);
        if (const std::string parameter = session.non_finite_gradient(); !parameter.empty())
            fail_run("the gradient of {} is not finite in step {}; nothing was dumped", parameter, step + 1);
        if (const std::string broken = session.non_finite_state(); !broken.empty())
            fail_run("{} is not finite after step {}; nothing was dumped", broken, step + 1);
        if (!last) continue;
        add_results(dump, session, session.last_batch_size());
        add_state(dump, session.parameters(), "after");
        dump.write(path, metadata_of(options, static_cast<float>(learning_rate(schedule, step)), step));
    }
}

}  // namespace qstep
