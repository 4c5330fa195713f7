#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "engine/error.h"
#include "engine/shape.h"
#include "train/safetensors.h"

namespace qstep {

namespace {

using Json = nlohmann::json;

// Deeper ResNets than anyone trains need about 1 MiB of header; more is an attack or another format.
constexpr std::uint64_t kMaxHeaderBytes = std::uint64_t{16} << 20;
constexpr std::uint64_t kLengthBytes = 8;
// Root object, tensor object, array of extents or offsets.
constexpr int kMaxDepth = 3;

// What is wrong with the content; the constructor puts the file's name in front.
struct Malformed {
    std::string reason;
};

template <typename... Args>
[[noreturn]] void malformed(fmt::format_string<Args...> format, Args&&... args) {
    throw Malformed{fmt::format(format, std::forward<Args>(args)...)};
}

std::optional<DType> dtype_from(const std::string& name) {
    static const std::map<std::string, DType> kNames{{"F32", DType::f32}, {"BF16", DType::bf16},
                                                     {"U8", DType::u8},   {"I32", DType::i32},
                                                     {"I64", DType::i64}, {"F64", DType::f64}};
    const auto found = kNames.find(name);
    return found == kNames.end() ? std::nullopt : std::optional(found->second);
}

// JSON parsers keep the last of equal keys; here a second one is an error, and so is deep nesting.
Json parse_header(const std::string& text) {
    std::vector<std::set<std::string>> keys(kMaxDepth + 2);
    const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
        const bool opens =
            event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
        if (opens && depth >= kMaxDepth) malformed("its header is nested too deeply");
        const auto level = static_cast<std::size_t>(depth);
        if (event == Json::parse_event_t::object_start) keys[level + 1].clear();
        if (event == Json::parse_event_t::key && !keys[level].insert(parsed.get<std::string>()).second)
            malformed("its header has '{}' twice", shown(parsed.get<std::string>()));
        return true;
    };
    try {
        return Json::parse(text, check);
    } catch (const Json::exception&) {
        malformed("its header is not valid JSON");
    }
}

std::uint64_t unsigned_value(const Json& value, const std::string& name, const char* what) {
    if (!value.is_number_unsigned())
        malformed("the {} of '{}' are not whole numbers of at least 0", what, shown(name));
    return value.get<std::uint64_t>();
}

const Json& member(const Json& object, const char* key, const std::string& name) {
    const auto found = object.find(key);
    if (found == object.end()) malformed("'{}' has no {}", shown(name), key);
    return *found;
}

SafetensorsFile::Entry parse_entry(const std::string& name, const Json& value, std::uint64_t data_bytes) {
    if (!value.is_object()) malformed("'{}' is not described by an object", shown(name));
    for (const auto& item : value.items())
        if (item.key() != "dtype" && item.key() != "shape" && item.key() != "data_offsets")
            malformed("'{}' has the unknown key '{}'", shown(name), shown(item.key()));
    const Json& dtype = member(value, "dtype", name);
    const Json& shape = member(value, "shape", name);
    const Json& offsets = member(value, "data_offsets", name);

    SafetensorsFile::Entry entry;
    const std::string type_name = dtype.is_string() ? dtype.get<std::string>() : "";
    const auto known = dtype_from(type_name);
    if (!known) malformed("'{}' has the unknown element type '{}'", shown(name), shown(type_name));
    entry.dtype = *known;

    if (!shape.is_array() || shape.size() > Shape::kMaxRank)
        malformed("the shape of '{}' is not a list of at most {} extents", shown(name), Shape::kMaxRank);
    std::uint64_t bytes = size_of(entry.dtype);
    bool empty = false;
    for (const Json& extent : shape) {
        const std::uint64_t size = unsigned_value(extent, name, "extents");
        if (size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) ||
            (size != 0 && bytes > std::numeric_limits<std::uint64_t>::max() / size))
            malformed("the shape of '{}' is too large", shown(name));
        empty = empty || size == 0;
        if (size != 0) bytes *= size;
        entry.shape.push_back(static_cast<std::int64_t>(size));
    }
    if (empty) bytes = 0;

    if (!offsets.is_array() || offsets.size() != 2)
        malformed("the data_offsets of '{}' are not two numbers", shown(name));
    entry.begin = unsigned_value(offsets[0], name, "data_offsets");
    entry.end = unsigned_value(offsets[1], name, "data_offsets");
    if (entry.begin > entry.end || entry.end > data_bytes)
        malformed("the data of '{}' lies outside the file ({} to {} of {} bytes)", shown(name), entry.begin,
                  entry.end, data_bytes);
    if (entry.bytes() != bytes)
        malformed("'{}' has {} bytes of data and its shape needs {}", shown(name), entry.bytes(), bytes);
    return entry;
}

Metadata parse_metadata(const Json& value) {
    if (!value.is_object()) malformed("its __metadata__ is not an object");
    Metadata metadata;
    for (const auto& item : value.items()) {
        if (!item.value().is_string()) malformed("its __metadata__ '{}' is not a string", shown(item.key()));
        metadata[item.key()] = item.value().get<std::string>();
    }
    return metadata;
}

void check_tiling(const std::map<std::string, SafetensorsFile::Entry>& entries, std::uint64_t data_bytes) {
    std::vector<std::pair<std::string, const SafetensorsFile::Entry*>> order;
    for (const auto& [name, entry] : entries) order.emplace_back(name, &entry);
    std::ranges::sort(order, {},
                      [](const auto& item) { return std::pair(item.second->begin, item.second->end); });
    std::uint64_t reached = 0;
    for (const auto& [name, entry] : order) {
        if (entry->begin < reached) malformed("the data of '{}' overlaps another tensor's", shown(name));
        if (entry->begin > reached) malformed("there is a gap in front of the data of '{}'", shown(name));
        reached = entry->end;
    }
    if (reached != data_bytes) malformed("{} bytes at its end belong to no tensor", data_bytes - reached);
}

std::string read_header(const InputFile& file) {
    const std::uint64_t file_bytes = file.size();
    if (file_bytes < kLengthBytes) malformed("it is shorter than the 8 bytes of a header length");
    std::array<std::byte, kLengthBytes> raw;
    file.read(0, raw);
    std::uint64_t length = 0;
    for (std::size_t i = 0; i < raw.size(); ++i) length |= std::to_integer<std::uint64_t>(raw[i]) << (8 * i);
    if (length > kMaxHeaderBytes)
        malformed("it claims a header of {} bytes, more than the {} that are allowed", length,
                  kMaxHeaderBytes);
    if (length > file_bytes - kLengthBytes)
        malformed("it is truncated: a header of {} bytes does not fit into its {} bytes", length, file_bytes);
    std::string text(length, '\0');
    file.read(kLengthBytes, std::as_writable_bytes(std::span(text)));
    return text;
}

}  // namespace

SafetensorsFile::SafetensorsFile(std::filesystem::path path) : file_(std::move(path)) {
    try {
        const std::string text = read_header(file_);
        if (text.empty() || text.front() != '{') malformed("its header is not a JSON object");
        const Json header = parse_header(text);
        data_start_ = kLengthBytes + text.size();
        const std::uint64_t data_bytes = file_.size() - data_start_;
        for (const auto& item : header.items()) {
            if (item.key() == "__metadata__")
                metadata_ = parse_metadata(item.value());
            else
                entries_[item.key()] = parse_entry(item.key(), item.value(), data_bytes);
        }
        check_tiling(entries_, data_bytes);
    } catch (const Malformed& problem) {
        fail_run("{} is not a usable safetensors file: {}", file_.path().string(), problem.reason);
    }
}

void SafetensorsFile::read(const Entry& entry, std::span<std::byte> to) const {
    QSTEP_CHECK(to.size() == entry.bytes(), "{} bytes of memory for {} bytes of data", to.size(),
                entry.bytes());
    file_.read(data_start_ + entry.begin, to);
}

}  // namespace qstep
