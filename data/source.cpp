#include "data/source.h"

#include <cstdlib>
#include <filesystem>
#include <utility>

#include "data/cifar10.h"
#include "data/synthetic.h"
#include "engine/error.h"

namespace qstep {
namespace {

constexpr const char* kFolderVariable = "CIFAR10_DIR";
constexpr const char* kDefaultFolder = "data";
constexpr const char* kNotComparable =
    "Synthetic images are no substitute for CIFAR-10: an accuracy on them is not comparable with one on "
    "CIFAR-10.";

std::string describe(const DataSplits& splits) {
    return fmt::format("{} {} and {} {}", splits.train.count(), splits.train.name, splits.test.count(),
                       splits.test.name);
}

DataSource from_folder(const std::string& folder) {
    DataSplits splits = read_cifar10(folder);
    std::string note = fmt::format("Data: {} from '{}'.", describe(splits), folder);
    return {
        std::move(splits), std::filesystem::absolute(folder).lexically_normal().string(), {std::move(note)}};
}

DataSource from_generator() {
    DataSplits splits = make_synthetic();
    std::string note = fmt::format("Data: {}, drawn by this program.", describe(splits));
    return {std::move(splits), "synthetic", {std::move(note), kNotComparable}};
}

DataSource from_variable(const char* folder) {
    try {
        return from_folder(folder);
    } catch (const Error& error) {
        throw Error(error.kind(), fmt::format("{} is set, but: {}", kFolderVariable, error.what()));
    }
}

DataSource find_automatically() {
    const char* named = std::getenv(kFolderVariable);
    if (named != nullptr && *named != '\0') return from_variable(named);
    if (has_cifar10_files(kDefaultFolder)) return from_folder(kDefaultFolder);
    DataSource source = from_generator();
    source.notes.push_back(fmt::format(
        "CIFAR-10 was not found ({} is not set and '{}' holds none): run scripts/get_cifar10.sh to "
        "download it, or name its folder with --data.",
        kFolderVariable, kDefaultFolder));
    return source;
}

}  // namespace

DataSource open_data(const std::string& text) {
    if (text.empty()) fail_usage("--data needs a folder, 'auto' or 'synthetic'.");
    if (text == "auto") return find_automatically();
    if (text == "synthetic") return from_generator();
    return from_folder(text);
}

}  // namespace qstep
