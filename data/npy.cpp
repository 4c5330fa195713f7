#include "data/npy.h"

#include <array>
#include <limits>
#include <string_view>

#include "data/npy_header.h"
#include "engine/error.h"
#include "engine/input_file.h"

namespace qstep {

namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::uint64_t kMostHeaderBytes = 65536;
constexpr std::size_t kAlignment = 64;

template <typename... Args>
[[noreturn]] void unusable(fmt::format_string<Args...> format, Args&&... args) {
    throw NpyProblem{fmt::format(format, std::forward<Args>(args)...)};
}

std::string read_text(const InputFile& file, std::uint64_t offset, std::uint64_t length) {
    if (offset + length > file.size()) unusable("it is cut short in its header");
    std::string text(length, '\0');
    file.read(offset, std::as_writable_bytes(std::span(text)));
    return text;
}

// The header's text; `data` becomes the offset behind it.
std::string read_header(const InputFile& file, std::uint64_t& data) {
    const std::string start = read_text(file, 0, kMagic.size() + 2);
    if (!start.starts_with(kMagic)) unusable("it does not begin as an .npy file does");
    const int major = static_cast<unsigned char>(start[kMagic.size()]);
    const int minor = static_cast<unsigned char>(start[kMagic.size() + 1]);
    if (major < 1 || major > 3 || minor != 0)
        unusable("its version is {}.{}, and those known are 1.0, 2.0 and 3.0", major, minor);
    const std::string size = read_text(file, start.size(), major == 1 ? 2 : 4);
    std::uint64_t length = 0;
    for (std::size_t i = 0; i < size.size(); ++i)
        length |= std::uint64_t{static_cast<unsigned char>(size[i])} << (8 * i);
    if (length > kMostHeaderBytes)
        unusable("it claims a header of {} bytes, more than the {} that are allowed", length,
                 kMostHeaderBytes);
    data = start.size() + size.size() + length;
    return read_text(file, start.size() + size.size(), length);
}

void check_usable(const NpyHeader& header) {
    if (header.type != "<f4")
        unusable("its elements are '{}', not little-endian float32 ('<f4'); save array.astype('<f4') instead",
                 shown(header.type));
    if (header.fortran_order) unusable("it is in Fortran order; save numpy.ascontiguousarray(array) instead");
}

// The product of the extents.
std::uint64_t element_count(const std::vector<std::int64_t>& shape) {
    std::uint64_t count = 1;
    bool empty = false;
    for (const std::int64_t extent : shape) {
        const auto size = static_cast<std::uint64_t>(extent);
        empty = empty || size == 0;
        // Elements fit in 2^61 bytes, or they are in no file.
        if (size != 0 && count > (std::uint64_t{1} << 59) / size)
            unusable("its shape {} is larger than any file", to_text(shape));
        if (size != 0) count *= size;
    }
    return empty ? 0 : count;
}

}  // namespace

NpyArray read_npy(const std::filesystem::path& path) {
    const InputFile file(path);
    try {
        std::uint64_t data = 0;
        NpyHeader header = parse_npy_header(read_header(file, data));
        check_usable(header);
        const std::uint64_t count = element_count(header.shape), bytes = count * sizeof(float);
        if (file.size() - data < bytes)
            unusable("it is cut short: the shape {} needs {} bytes of elements and {} are there",
                     to_text(header.shape), bytes, file.size() - data);
        if (file.size() - data > bytes) unusable("{} bytes follow its elements", file.size() - data - bytes);
        NpyArray array{std::move(header.shape), std::vector<float>(count)};
        file.read(data, std::as_writable_bytes(std::span(array.values)));
        return array;
    } catch (const NpyProblem& problem) {
        fail_run("{} is not a usable .npy file: {}", path.string(), problem.reason);
    }
}

void write_npy(AtomicFile& file, std::span<const std::int64_t> shape, std::span<const float> values) {
    std::uint64_t count = 1;
    for (const std::int64_t extent : shape) count *= static_cast<std::uint64_t>(extent);
    QSTEP_CHECK(count == values.size(), "{} values for the shape {}", values.size(), to_text(shape));
    std::string header =
        fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': {}, }}", to_text(shape));
    const std::size_t start = kMagic.size() + 4, end = start + header.size() + 1;
    header.append((kAlignment - end % kAlignment) % kAlignment, ' ');
    header += '\n';
    QSTEP_CHECK(header.size() <= std::numeric_limits<std::uint16_t>::max(), "a header of {} bytes",
                header.size());
    const std::array<char, 4> version{1, 0, static_cast<char>(header.size() & 0xff),
                                      static_cast<char>(header.size() >> 8)};
    file.write(kMagic);
    file.write(std::string_view(version.data(), version.size()));
    file.write(header);
    file.write(std::as_bytes(values));
}

std::string to_text(std::span<const std::int64_t> shape) {
    return fmt::format("({}{})", fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
}

}  // namespace qstep
