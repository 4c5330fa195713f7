#include "engine/device.h"

#include <charconv>

#include "engine/backend.h"
#include "engine/error.h"

namespace qstep {

Device parse_device(std::string_view text) {
    if (text == "cpu") return {DeviceKind::cpu, 0};
    if (text == "auto") return {device_count(DeviceKind::cuda) > 0 ? DeviceKind::cuda : DeviceKind::cpu, 0};
    if (text == "cuda") return {DeviceKind::cuda, 0};
    if (text.starts_with("cuda:")) {
        const std::string_view digits = text.substr(5);
        int index = 0;
        const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
        if (status == std::errc() && end == digits.data() + digits.size() && index >= 0)
            return {DeviceKind::cuda, index};
    }
    fail_usage("unknown device '{}': use auto, cpu, cuda or cuda:N", text);
}

std::string to_string(Device device) {
    return device.kind == DeviceKind::cpu ? "cpu" : fmt::format("cuda:{}", device.index);
}

}  // namespace qstep
