#include "data/fingerprint.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>

namespace qstep {
namespace {

constexpr std::uint64_t kPrime1 = 0x9e3779b185ebca87u, kPrime2 = 0xc2b2ae3d27d4eb4fu,
                        kPrime3 = 0x165667b19e3779f9u, kPrime4 = 0x85ebca77c2b2ae63u,
                        kPrime5 = 0x27d4eb2f165667c5u;
constexpr std::size_t kLanes = 4;
constexpr std::size_t kStripe = kLanes * sizeof(std::uint64_t);

// The published hash reads little-endian words.
static_assert(std::endian::native == std::endian::little);

template <typename Word>
std::uint64_t word_at(const std::uint8_t* bytes) {
    Word word;
    std::memcpy(&word, bytes, sizeof word);
    return word;
}

std::uint64_t round(std::uint64_t lane, std::uint64_t word) {
    return std::rotl(lane + word * kPrime2, 31) * kPrime1;
}

// Four words at a time, each into a lane of its own; takes what it has read from the front of `bytes`.
std::uint64_t hash_stripes(std::span<const std::uint8_t>& bytes, std::uint64_t seed) {
    std::array<std::uint64_t, kLanes> lanes{seed + kPrime1 + kPrime2, seed + kPrime2, seed, seed - kPrime1};
    for (; bytes.size() >= kStripe; bytes = bytes.subspan(kStripe))
        for (std::size_t i = 0; i < kLanes; ++i)
            lanes[i] = round(lanes[i], word_at<std::uint64_t>(bytes.data() + i * sizeof(std::uint64_t)));
    std::uint64_t hash =
        std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) + std::rotl(lanes[3], 18);
    for (const std::uint64_t lane : lanes) hash = (hash ^ round(0, lane)) * kPrime1 + kPrime4;
    return hash;
}

std::string fingerprint_of(const Dataset& dataset) {
    return fmt::format("{:016x}", xxh64(dataset.images, xxh64(dataset.labels, 0)));
}

}  // namespace

std::uint64_t xxh64(std::span<const std::uint8_t> bytes, std::uint64_t seed) {
    const std::uint64_t length = bytes.size();
    std::uint64_t hash = length < kStripe ? seed + kPrime5 : hash_stripes(bytes, seed);
    hash += length;
    for (; bytes.size() >= 8; bytes = bytes.subspan(8))
        hash = std::rotl(hash ^ round(0, word_at<std::uint64_t>(bytes.data())), 27) * kPrime1 + kPrime4;
    if (bytes.size() >= 4) {
        hash = std::rotl(hash ^ word_at<std::uint32_t>(bytes.data()) * kPrime1, 23) * kPrime2 + kPrime3;
        bytes = bytes.subspan(4);
    }
    for (const std::uint8_t byte : bytes) hash = std::rotl(hash ^ byte * kPrime5, 11) * kPrime1;
    hash = (hash ^ hash >> 33) * kPrime2;
    hash = (hash ^ hash >> 29) * kPrime3;
    return hash ^ hash >> 32;
}

std::string fingerprint(const DataSplits& splits) {
    return fingerprint_of(splits.train) + "-" + fingerprint_of(splits.test);
}

}  // namespace qstep
