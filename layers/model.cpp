#include "layers/model.h"

#include <charconv>

#include "engine/suggest.h"
#include "layers/models/alexnet.h"
#include "layers/models/resnet.h"
#include "layers/models/simple.h"

namespace qstep {

std::vector<std::string> model_names() {
    return {"resnet_20", "alexnet", "simple"};
}

std::unique_ptr<Model> make_model(std::string_view name, ParameterStore& store) {
    if (name == "alexnet") return make_alexnet(store);
    if (name == "simple") return make_simple(store);
    if (name.starts_with("resnet_")) {
        const std::string_view digits = name.substr(7);
        int depth = 0;
        const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), depth);
        if (status == std::errc() && end == digits.data() + digits.size()) return make_resnet(depth, store);
    }
    const std::vector<std::string> names = model_names();
    fail_usage(
        "unknown model '{}'; did you mean {}? Models: resnet_20 (any resnet_N with N = 6n+2), alexnet, "
        "simple",
        name, nearest_name(name, std::vector<std::string_view>(names.begin(), names.end())));
}

}  // namespace qstep
