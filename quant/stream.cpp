#include "quant/stream.h"

#include <cstring>

#include "quant/cpu/codecs.h"
#include "quant/dorefa.h"
#include "quant/entropy.h"
#include "quant/exponential.h"
#include "quant/fixed.h"
#include "quant/formulas.h"
#include "quant/hadamard.h"
#include "quant/natural.h"
#include "quant/qsgd.h"
#include "quant/random_points.h"
#include "quant/sign.h"
#include "quant/standard.h"

namespace qstep {

namespace {

constexpr char kMagic[5] = "QSTP";
constexpr std::uint32_t kVersion = 1;
/// More than fits into any memory, and few enough that no product below overflows.
constexpr std::int64_t kMostElements = std::int64_t{1} << 48;

/// The words of the stream header by what they hold.
enum Word {
    kMagicWord,
    kVersionWord,
    kElementsWord = 2,
    kBucketWord = 4,
    kLevelsWord = 6,
    kExtraWord,
    kZeroWord = 11
};
enum { kBytesWord = 12, kEndWord = 14 };

std::int64_t long_at(const quant::StreamHeaderWords& words, int at) {
    return static_cast<std::int64_t>(std::uint64_t{words.word[at + 1]} << 32 | words.word[at]);
}

void put_long(quant::StreamHeaderWords& words, int at, std::uint64_t value) {
    words.word[at] = static_cast<std::uint32_t>(value);
    words.word[at + 1] = static_cast<std::uint32_t>(value >> 32);
}

std::int64_t bucket_header_words(const CodecSettings& settings, const quant::Parameters& parameters) {
    switch (settings.kind) {
        case CodecKind::none:
            return 0;
        case CodecKind::smart:
            return quant::Smart::header_words(parameters);
        case CodecKind::hadamard:
            return quant::Hadamard::kHeaderWords;
        default:
            return quant::with_formula(
                settings, [&]<typename Tag>(Tag) { return Tag::Algorithm::header_words(parameters); });
    }
}

quant::StreamHeaderWords words_of(std::span<const std::byte> bytes) {
    if (bytes.size() < static_cast<std::size_t>(quant::kStreamHeaderBytes))
        fail_run("a gradient stream begins with a header of {} bytes, but there are only {} bytes",
                 quant::kStreamHeaderBytes, bytes.size());
    quant::StreamHeaderWords words;
    std::memcpy(words.word, bytes.data(), sizeof words.word);
    return words;
}

/// Checks what can be checked of each field alone.
StreamHeader fields_of(const quant::StreamHeaderWords& words) {
    if (std::memcmp(words.word, kMagic, 4) != 0)
        fail_run("this is not a gradient stream: it does not begin with {}", kMagic);
    const std::uint32_t mixed = words.word[kVersionWord], version = mixed & 0xffffu;
    if (version != kVersion)
        fail_run("the gradient stream has version {}, this program reads version {}", version, kVersion);
    const std::uint32_t kind = mixed >> 16 & 0xffu, coding = mixed >> 24;
    if (kind >= kCodecCount) fail_run("the gradient stream names a codec {}, which does not exist", kind);
    if (coding > 1) fail_run("the gradient stream names a coding {}, which does not exist", coding);
    if ((words.word[kZeroWord] | words.word[kEndWord] | words.word[kEndWord + 1]) != 0)
        fail_run("the gradient stream's header has something where there should be zeros");
    return {static_cast<CodecKind>(kind),
            coding == 1,
            long_at(words, kElementsWord),
            long_at(words, kBucketWord),
            {words.word[kLevelsWord], words.word[kExtraWord]},
            static_cast<std::uint64_t>(long_at(words, quant::kSeedWord)),
            words.word[quant::kStepWord],
            long_at(words, kBytesWord)};
}

void check_settings(const StreamHeader& header) {
    const bool plain_floats = header.kind == CodecKind::none;
    const std::int64_t smallest = plain_floats ? 0 : 1, largest = plain_floats ? 0 : header.elements;
    if (header.elements < 1 || header.elements > kMostElements)
        fail_run("the gradient stream claims to hold {} elements", header.elements);
    if (header.bucket_size < smallest || header.bucket_size > largest)
        fail_run("the gradient stream claims to hold {} elements in buckets of {}", header.elements,
                 header.bucket_size);
    const CodecSettings settings = quant::settings_of(header);
    try {
        validate(settings);
    } catch (const Error& error) {
        fail_run("the gradient stream's header makes no sense: {}", error.what());
    }
    if (quant::parameters_of(settings) != header.parameters)
        fail_run("{} has no {} levels with parameter {}, as the gradient stream's header says",
                 name_of(header.kind), header.parameters.levels, header.parameters.extra);
    if (plain_floats && header.entropy_coded) fail_run("a gradient stream of plain floats has no codes");
}

}  // namespace

StreamHeader read_stream_header(std::span<const std::byte> bytes) {
    const StreamHeader header = fields_of(words_of(bytes));
    const auto size = static_cast<std::int64_t>(bytes.size());
    if (header.bytes != size)
        fail_run("the gradient stream should have {} bytes, but has {}", header.bytes, size);
    check_settings(header);
    const quant::StreamLayout layout = quant::stream_layout(quant::settings_of(header), header.elements);
    // Divided, as the product may overflow.
    const std::int64_t header_bytes = layout.header_words * 4;
    if (header_bytes > 0 && layout.buckets.count() > size / header_bytes)
        fail_run("a gradient stream of {} bytes is too short for {} buckets", size, layout.buckets.count());
    const std::int64_t codes = layout.codes_at(0);
    if (header.entropy_coded ? codes > size : layout.bytes() != size)
        fail_run("a gradient stream of {} elements in buckets of {} does not have {} bytes", header.elements,
                 header.bucket_size, size);
    return header;
}

std::vector<float> decode_stream(const Context& context, std::span<const std::byte> bytes) {
    const StreamHeader header = read_stream_header(bytes);
    if (header.entropy_coded) return decode_stream(context, expand_stream(context, bytes));
    Context own(Device{}, context.threads());
    const auto codec =
        quant::cpu::make(own, quant::settings_of(header), header.elements, quant::cpu::best_isa());
    own.workspace().freeze();
    std::vector<float> values(static_cast<std::size_t>(header.elements));
    // decode() reads the stream alone, but tensors know no const.
    const Tensor stream{const_cast<std::byte*>(bytes.data()), DType::u8, {header.bytes}};
    codec->decode(own, {values.data(), DType::f32, {header.elements}}, stream);
    return values;
}

quant::StreamLayout quant::stream_layout(const CodecSettings& settings, std::int64_t element_count) {
    if (settings.kind == CodecKind::none) return {Buckets(element_count, -1), 32, 0, false};
    const Parameters parameters = parameters_of(settings);
    return {Buckets(element_count, settings.bucket_size),
            static_cast<int>(std::bit_width(static_cast<std::uint64_t>(parameters.levels - 1))),
            bucket_header_words(settings, parameters), settings.kind == CodecKind::hadamard};
}

CodecSettings quant::settings_of(const StreamHeader& header) {
    CodecSettings settings;
    settings.kind = header.kind;
    settings.levels = header.parameters.levels;
    settings.bucket_size = header.kind == CodecKind::none ? -1 : header.bucket_size;
    settings.seed = header.seed;
    // A number that parameters_of() would not give back is refused by whoever compares.
    const std::int64_t extra = header.parameters.extra;
    if (extra == 1) {
        settings.points = Points::random;
        settings.qsgd_norm = Norm::max;
    }
    if (header.kind == CodecKind::fixed) {
        const auto levels = static_cast<std::uint64_t>(header.parameters.levels);
        settings.fixed_fl = extra;
        settings.fixed_il = std::bit_width(levels) - 1 - extra;
    }
    // Decoding places no points, so it needs no memory to do so.
    settings.smart_candidates_percent = 1e-9;
    return settings;
}

quant::StreamHeaderWords quant::header_words_of(const CodecSettings& settings, std::int64_t element_count,
                                                std::uint32_t step) {
    const StreamLayout layout = stream_layout(settings, element_count);
    const Parameters parameters = parameters_of(settings);
    StreamHeaderWords words{};
    std::memcpy(words.word, kMagic, 4);
    words.word[kVersionWord] = kVersion | static_cast<std::uint32_t>(settings.kind) << 16;
    put_long(words, kElementsWord, static_cast<std::uint64_t>(element_count));
    if (settings.kind != CodecKind::none)
        put_long(words, kBucketWord, static_cast<std::uint64_t>(layout.buckets.size));
    words.word[kLevelsWord] = static_cast<std::uint32_t>(parameters.levels);
    words.word[kExtraWord] = static_cast<std::uint32_t>(parameters.extra);
    put_long(words, kSeedWord, settings.seed);
    words.word[kStepWord] = step;
    put_long(words, kBytesWord, static_cast<std::uint64_t>(layout.bytes()));
    return words;
}

}  // namespace qstep
