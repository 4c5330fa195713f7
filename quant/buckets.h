// How a flat gradient is cut: into buckets, and into pieces that one group works through at a time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "quant/group.h"

namespace qstep::quant {

struct Buckets {
    std::int64_t elements;
    std::int64_t size;

    /// bucket_size as in CodecSettings: -1 is everything.
    Buckets(std::int64_t element_count, std::int64_t bucket_size)
        : elements(element_count),
          size(bucket_size < 0 ? element_count : std::min(bucket_size, element_count)) {}

    std::int64_t count() const { return (elements + size - 1) / size; }
    std::int64_t begin(std::int64_t bucket) const { return bucket * size; }
    std::int64_t length(std::int64_t bucket) const { return std::min(size, elements - begin(bucket)); }

    /// Buckets of at most a chunk are handled whole, a run of them at a time.
    bool small() const { return size <= kChunk; }
    std::int64_t buckets_per_run() const { return std::max<std::int64_t>(1, kChunk / size); }
    std::int64_t runs() const { return (count() + buckets_per_run() - 1) / buckets_per_run(); }

    /// Longer ones are cut into chunks; chunks of all buckets are numbered through.
    std::int64_t chunks_per_bucket() const { return (size + kChunk - 1) / kChunk; }
    std::int64_t chunks() const { return count() * chunks_per_bucket(); }
    std::int64_t chunk_begin(std::int64_t chunk) const {
        return begin(chunk / chunks_per_bucket()) + chunk % chunks_per_bucket() * kChunk;
    }
    /// 0 or less for chunks that a short last bucket does not have.
    std::int64_t chunk_length(std::int64_t chunk) const {
        const std::int64_t bucket = chunk / chunks_per_bucket();
        return std::min(kChunk, begin(bucket) + length(bucket) - chunk_begin(chunk));
    }
};

}  // namespace qstep::quant
