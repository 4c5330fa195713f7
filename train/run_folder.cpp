#include "train/run_folder.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <system_error>

#include "engine/error.h"

namespace qstep {

namespace {

void check_writable(const std::filesystem::path& folder) {
    if (access(folder.c_str(), W_OK | X_OK) != 0)
        fail_run("cannot write into the folder {}: {}", folder.string(),
                 std::generic_category().message(errno));
}

std::shared_ptr<const void> lock(const std::filesystem::path& folder) {
    const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        fail_run("cannot open the folder {}: {}", folder.string(), std::generic_category().message(errno));
    const std::shared_ptr<const void> held(nullptr, [descriptor](const void*) { close(descriptor); });
    // Where a file system knows no locks, runs are left to the person who starts them.
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        fail_run("another run is using the folder {}", folder.string());
    return held;
}

void make_folders(const std::filesystem::path& folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) fail_run("cannot make the folder {}: {}", folder.string(), error.message());
    if (!std::filesystem::is_directory(folder, error))
        fail_run("cannot make the folder {}: a file of that name exists", folder.string());
}

// create_directory tells whether this call made it, so two runs started together get two folders.
RunFolder make_numbered_folder(const std::string& label) {
    const std::filesystem::path parent = "runs";
    make_folders(parent);
    check_writable(parent);
    const std::string name = fmt::format("{}-{:%Y%m%d-%H%M%S}", label, fmt::localtime(std::time(nullptr)));
    for (int number = 1;; ++number) {
        const auto folder = parent / (number == 1 ? name : fmt::format("{}-{}", name, number));
        std::error_code error;
        if (std::filesystem::create_directory(folder, error)) return {folder, lock(folder)};
        if (error) fail_run("cannot make the folder {}: {}", folder.string(), error.message());
    }
}

}  // namespace

RunFolder make_run_folder(const std::string& output, const std::string& label) {
    if (output.empty()) return make_numbered_folder(label);
    make_folders(output);
    check_writable(output);
    const RunFolder folder{output, lock(output)};
    std::error_code ignored;
    for (const auto& file :
         {folder.checkpoint(), folder.configuration(), folder.metrics(), folder.model(), folder.report()})
        if (std::filesystem::exists(file, ignored))
            fail_usage("{} holds {} of another run; choose another --output, or {}", output,
                       file.filename().string(),
                       std::filesystem::exists(folder.checkpoint(), ignored)
                           ? "continue that run with --resume " + folder.checkpoint().string()
                           : "empty that folder: the run left no checkpoint to continue from");
    return folder;
}

RunFolder folder_of_checkpoint(const std::filesystem::path& checkpoint) {
    const std::filesystem::path folder = checkpoint.has_parent_path() ? checkpoint.parent_path() : ".";
    check_writable(folder);
    return {folder, lock(folder)};
}

}  // namespace qstep
