// Where tensors live and kernels run.
#pragma once

#include <string>
#include <string_view>

namespace qstep {

/// Whose memory and kernels.
enum class DeviceKind { cpu, cuda };

/// A device by its number among those of its kind.
struct Device {
    DeviceKind kind = DeviceKind::cpu;
    int index = 0;
    bool operator==(const Device&) const = default;
};

/// "cpu", "cuda", "cuda:1", or "auto" (the first CUDA device where the build has CUDA and one is there,
/// else the CPU). Throws a usage error on any other text. Does not ask whether a named device exists.
Device parse_device(std::string_view text);
/// "cpu" or "cuda:0".
std::string to_string(Device device);

}  // namespace qstep
