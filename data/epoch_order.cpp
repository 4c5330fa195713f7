#include "data/epoch_order.h"

#include <limits>
#include <numeric>
#include <utility>

#include "engine/error.h"
#include "engine/random.h"

namespace qstep {

std::vector<std::int32_t> epoch_order(std::int64_t count, std::uint64_t seed, std::uint32_t epoch) {
    QSTEP_CHECK(count >= 0 && count <= std::numeric_limits<std::int32_t>::max(), "cannot order {} images",
                count);
    std::vector<std::int32_t> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    const RandomStream stream{seed, Purpose::epoch_order, epoch};
    for (std::int64_t i = count - 1; i > 0; --i) {
        const auto from = static_cast<std::size_t>(i);
        const std::size_t to = stream.below(static_cast<std::uint64_t>(i), static_cast<std::uint32_t>(i + 1));
        std::swap(order[from], order[to]);
    }
    return order;
}

}  // namespace qstep
