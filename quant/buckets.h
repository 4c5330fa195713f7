// How a flat gradient is cut: into buckets, and into pieces that one group works through at a time.
#pragma once

#include <cstdint>

#include "quant/group.h"

namespace qstep::quant {

struct Buckets {
    std::int64_t elements;
    std::int64_t size;

    /// bucket_size as in CodecSettings: -1 is everything.
    Buckets(std::int64_t element_count, std::int64_t bucket_size)
        : elements(element_count),
          size(bucket_size < 0 || bucket_size > element_count ? element_count : bucket_size),
          count_(size > 0 ? (elements + size - 1) / size : 0),
          per_run_(size > 0 && size < kChunk ? kChunk / size : 1) {}

    QSTEP_HOST_DEVICE std::int64_t count() const { return count_; }
    QSTEP_HOST_DEVICE std::int64_t begin(std::int64_t bucket) const { return bucket * size; }
    QSTEP_HOST_DEVICE std::int64_t length(std::int64_t bucket) const {
        const std::int64_t rest = elements - begin(bucket);
        return rest < size ? rest : size;
    }

    /// Buckets of at most a chunk are handled whole, a run of them at a time.
    QSTEP_HOST_DEVICE bool small() const { return size <= kChunk; }
    QSTEP_HOST_DEVICE std::int64_t buckets_per_run() const { return per_run_; }
    QSTEP_HOST_DEVICE std::int64_t runs() const {
        return (count() + buckets_per_run() - 1) / buckets_per_run();
    }

    QSTEP_HOST_DEVICE std::int64_t run_count(std::int64_t run) const {
        const std::int64_t rest = count() - run * buckets_per_run();
        return rest < buckets_per_run() ? rest : buckets_per_run();
    }

    /// Longer ones are cut into chunks; chunks of all buckets are numbered through.
    QSTEP_HOST_DEVICE std::int64_t chunks_per_bucket() const { return (size + kChunk - 1) / kChunk; }
    QSTEP_HOST_DEVICE std::int64_t chunks() const { return count() * chunks_per_bucket(); }
    QSTEP_HOST_DEVICE std::int64_t chunk_begin(std::int64_t chunk) const {
        return begin(chunk / chunks_per_bucket()) + chunk % chunks_per_bucket() * kChunk;
    }
    /// 0 or less for chunks that a short last bucket does not have.
    QSTEP_HOST_DEVICE std::int64_t chunk_length(std::int64_t chunk) const {
        const std::int64_t bucket = chunk / chunks_per_bucket();
        const std::int64_t rest = begin(bucket) + length(bucket) - chunk_begin(chunk);
        return rest < kChunk ? rest : kChunk;
    }

  private:
    // Known before a kernel starts, whose threads would all divide 64-bit numbers.
    std::int64_t count_, per_run_;
};

}  // namespace qstep::quant
