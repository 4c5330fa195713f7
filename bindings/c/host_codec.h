// A gradient codec on arrays in host memory, laid out anew when their length changes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/device.h"
#include "quant/codec.h"

namespace qstep {

/// What a caller in C chooses.
struct HostCodecOptions {
    CodecSettings codec;
    Device device;
    std::int64_t threads = 0;  // 0: all
    bool entropy_coding = false;
};

/// From pairs of name and value, the names of qstep.h. Throws a usage error of one sentence for an unknown
/// name or whatever makes no sense.
HostCodecOptions parse_host_codec_options(const std::vector<std::pair<std::string, std::string>>& given);

/// One gradient and what belongs to it: `count` elements each.
struct HostGradient {
    const float* in = nullptr;
    std::int64_t count = 0;
    std::int64_t step = 0;
    float* residual = nullptr;  // null without error feedback
};

/// Calls run one after the other, from whatever thread.
class HostCodec {
  public:
    /// Throws a run error where the device cannot be used.
    explicit HostCodec(const HostCodecOptions& options);
    ~HostCodec();

    /// Returns the variance. Usage errors for arguments that make no sense, run errors for values that are
    /// not finite; the residual is written last.
    double quantize(const HostGradient& gradient, float* out);
    /// The same as a stream, of `written` bytes.
    double encode(const HostGradient& gradient, std::span<std::byte> room, std::size_t& written);
    /// Bytes of the stream of so many elements; with entropy coding, at most.
    std::int64_t stream_bytes(std::int64_t count) const;

  private:
    class Plan;
    Plan& plan_for(std::int64_t count);

    HostCodecOptions options_;
    std::mutex in_use_;
    std::unique_ptr<Plan> plan_;
};

/// Makes `out` of a stream of unknown origin. Throws a run error where it is none, a usage error where it has
/// not as many elements.
void decode_on_host(std::span<const std::byte> stream, int threads, std::span<float> out);

}  // namespace qstep
