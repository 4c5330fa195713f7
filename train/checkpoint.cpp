#include "train/checkpoint.h"

#include "engine/backend.h"
#include "engine/error.h"

namespace qstep {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kCheckpointFormat = "qstep checkpoint";
constexpr const char* kModelFormat = "qstep model";
constexpr const char* kFormatVersion = "1";
constexpr std::size_t kMostQuoted = 300;

Json to_json(const Progress& progress) {
    return {{"epoch", progress.epoch},
            {"batch", progress.batch},
            {"step", progress.step},
            {"data", progress.data},
            {"loss_sum", progress.loss_sum},
            {"right", progress.right},
            {"images", progress.images},
            {"variance_sum", progress.variance_sum},
            {"fingerprint", progress.fingerprint}};
}

// Throws for anything but a whole number; one beyond 64 bits comes out negative.
std::int64_t count_at(const Json& values, const char* key) {
    const Json& value = values.at(key);
    if (!value.is_number_integer()) fail_run("the stored progress has no whole number of '{}'", key);
    return value.get<std::int64_t>();
}

Progress progress_from_json(const Json& values) {
    Progress progress;
    progress.epoch = count_at(values, "epoch");
    progress.batch = count_at(values, "batch");
    progress.step = count_at(values, "step");
    progress.images = count_at(values, "images");
    values.at("data").get_to(progress.data);
    values.at("loss_sum").get_to(progress.loss_sum);
    values.at("right").get_to(progress.right);
    values.at("variance_sum").get_to(progress.variance_sum);
    // Checkpoints of earlier versions have none.
    progress.fingerprint = values.value("fingerprint", std::string());
    return progress;
}

// A tensor of the store and the name it has in the file.
struct NamedTensor {
    std::string name;
    Tensor tensor;
};

std::vector<NamedTensor> tensors_of(const ParameterStore& parameters, bool for_training) {
    std::vector<NamedTensor> tensors;
    for (const auto& parameter : parameters.parameters())
        tensors.push_back({parameter.name, parameter.value});
    for (const auto& buffer : parameters.buffers()) tensors.push_back({buffer.name, buffer.value});
    if (!for_training) return tensors;
    for (const auto& parameter : parameters.parameters())
        tensors.push_back({"momentum." + parameter.name, parameter.momentum});
    if (parameters.residual())
        for (const auto& parameter : parameters.parameters())
            tensors.push_back({"residual." + parameter.name, parameter.residual});
    return tensors;
}

void write(const std::filesystem::path& path, Context& context, const std::vector<NamedTensor>& tensors,
           const Metadata& metadata) {
    std::vector<std::vector<std::byte>> host;
    std::vector<TensorToWrite> entries;
    for (const auto& [name, tensor] : tensors) {
        auto& bytes = host.emplace_back(tensor.bytes());
        backend(context.device()).copy_out(context, bytes.data(), tensor.data, bytes.size());
        entries.push_back({name, tensor.dtype, tensor.shape.extents(), bytes});
    }
    write_safetensors(path, metadata, entries);
}

Metadata common_metadata(const char* format, const Options& options) {
    return {{"format", format},
            {"format_version", kFormatVersion},
            {"model", options.model},
            {"configuration", to_json(options, Selection::stored).dump()}};
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, Context& context, const ParameterStore& parameters,
                     const Options& options, const Progress& progress) {
    Metadata metadata = common_metadata(kCheckpointFormat, options);
    metadata["seed"] = std::to_string(options.seed);
    metadata["step"] = std::to_string(progress.step);
    metadata["epoch"] = std::to_string(progress.epoch);
    metadata["batch"] = std::to_string(progress.batch);
    metadata["progress"] = to_json(progress).dump();
    Json metrics = Json::object();
    if (progress.last) metrics["last"] = to_json(*progress.last);
    if (progress.best) metrics["best"] = to_json(*progress.best);
    metadata["metrics"] = metrics.dump();
    write(path, context, tensors_of(parameters, true), metadata);
}

void save_model(const std::filesystem::path& path, Context& context, const ParameterStore& parameters,
                const Options& options) {
    write(path, context, tensors_of(parameters, false), common_metadata(kModelFormat, options));
}

Checkpoint::Checkpoint(const std::filesystem::path& path) : file_(path) {
    try {
        parse_metadata();
    } catch (const Json::exception&) {
        fail_run("{} is not a usable checkpoint: its metadata is not what this program writes",
                 path.string());
    }
}

const std::string& Checkpoint::text(const char* key) const {
    const auto found = file_.metadata().find(key);
    if (found == file_.metadata().end())
        fail_run("{} is not a checkpoint of this program: its metadata has no '{}'", file_.path().string(),
                 key);
    return found->second;
}

void Checkpoint::parse_metadata() {
    const std::string path = file_.path().string();
    can_resume_ = text("format") == kCheckpointFormat;
    if (!can_resume_ && text("format") != kModelFormat)
        fail_run("{} is not a checkpoint of this program: its format is '{}'", path, shown(text("format")));
    if (text("format_version") != kFormatVersion)
        fail_run("{} has format version {}; this program reads version {}", path,
                 shown(text("format_version")), kFormatVersion);
    model_ = text("model");
    if (can_resume_ || file_.metadata().contains("configuration")) {
        configuration_ = Json::parse(text("configuration"));
    } else {
        configuration_ = qstep::to_json(Options{}, Selection::stored);
        configuration_["model"] = model_;
    }
    try {
        Options tried;
        from_json(tried, configuration_);
        if (tried.model != model_) fail_usage("it names two models, {} and {}", model_, tried.model);
        configuration_ = qstep::to_json(tried, Selection::stored);
    } catch (const Error& error) {
        // The sentence quotes the file.
        fail_run("{} is not a usable checkpoint: {}", path, shown(error.what(), kMostQuoted));
    }
    if (!can_resume_) return;
    progress_ = progress_from_json(Json::parse(text("progress")));
    if (progress_.epoch < 0 || progress_.batch < 0 || progress_.step < 0 || progress_.images < 0)
        fail_run("{} is not a usable checkpoint: it claims negative progress", path);
    if ((progress_.images == 0) != (progress_.batch == 0))
        fail_run("{} is not a usable checkpoint: it claims {} steps and {} images of an epoch", path,
                 progress_.batch, progress_.images);
    const Json metrics = Json::parse(text("metrics"));
    if (metrics.contains("last")) progress_.last = metrics_from_json(metrics["last"]);
    if (metrics.contains("best")) progress_.best = metrics_from_json(metrics["best"]);
}

void Checkpoint::load(Context& context, ParameterStore& parameters, bool for_training) const {
    const std::string path = file_.path().string();
    const auto expected = tensors_of(parameters, can_resume_);
    for (const auto& [name, tensor] : expected) {
        const auto found = file_.entries().find(name);
        if (found == file_.entries().end())
            fail_run("{} has no tensor '{}', which the model needs", path, name);
        if (found->second.dtype != tensor.dtype || found->second.shape != tensor.shape.extents())
            fail_run("{} holds '{}' as {} [{}]; the model needs {} {}", path, name,
                     name_of(found->second.dtype), fmt::join(found->second.shape, ","), name_of(tensor.dtype),
                     tensor.shape.to_string());
    }
    if (file_.entries().size() != expected.size())
        for (const auto& item : file_.entries())
            if (std::ranges::find(expected, item.first, &NamedTensor::name) == expected.end())
                fail_run("{} has the tensor '{}', which the model does not know", path, shown(item.first));

    const auto wanted = tensors_of(parameters, for_training);
    std::vector<std::vector<std::byte>> host;
    for (const auto& item : wanted) {
        const auto& entry = file_.entries().at(item.name);
        file_.read(entry, host.emplace_back(entry.bytes()));
    }
    for (std::size_t i = 0; i < wanted.size(); ++i)
        backend(context.device()).copy_in(context, wanted[i].tensor.data, host[i].data(), host[i].size());
}

}  // namespace qstep
