#include "kernels/batch_assembly.h"

#include <limits>

#include "kernels/cpu/parallel.h"
#include "kernels/float_types.h"
#include "kernels/on_device.h"

namespace qstep {

void detail::check_batch(const Tensor& images, const Tensor& labels, const ImageSet& set,
                         const BatchPlace& place) {
    QSTEP_CHECK(labels.shape.rank() == 1 && labels.count() <= place.batch_size, "labels {} in batches of {}",
                labels.shape.to_string(), place.batch_size);
    check_tensor(labels, "labels", DType::i32, labels.shape);
    check_tensor(images, "images", images.dtype, {labels.count(), kImageSide, kImageSide, kImageChannels});
    check_tensor(set.images, "the data set", DType::u8, {set.labels.count(), kImageBytes});
    check_tensor(set.labels, "the data set's labels", DType::u8, {set.labels.count()});
    check_tensor(place.batch, "batch", DType::i64, {1});
    if (place.order) check_tensor(place.order, "order", DType::i32, {place.order.count()});
}

namespace cpu {

namespace {

// Which image row `row` is; -1 where there is none.
std::int64_t image_of(const ImageSet& set, const BatchPlace& place, std::int64_t row) {
    const std::int64_t at = place.batch.as<std::int64_t>()[0] * place.batch_size + row;
    const std::int64_t places = place.order ? place.order.count() : set.labels.count();
    if (at < 0 || at >= places) return -1;
    const std::int64_t image = place.order ? place.order.as<std::int32_t>()[at] : at;
    return image < set.labels.count() ? image : -1;
}

template <typename CropOf>
void gather(Context& context, const Tensor& images, const Tensor& labels, const ImageSet& set,
            const BatchPlace& place, const CropOf& crop_of) {
    const auto* bytes = set.images.as<std::uint8_t>();
    with_float_type(images.dtype, "images", [&]<typename T>(T) {
        cpu::parallel_ranges(
            context, labels.count(), 1, kImageBytes, [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t row = begin; row < end; ++row) {
                    T* to = images.as<T>() + row * kImageBytes;
                    const std::int64_t image = image_of(set, place, row);
                    labels.as<std::int32_t>()[row] = image < 0 ? 0 : set.labels.as<std::uint8_t>()[image];
                    if (image < 0)
                        std::fill_n(to, kImageBytes, from_float<T>(std::numeric_limits<float>::quiet_NaN()));
                    else
                        write_image(to, bytes + image * kImageBytes, crop_of(image));
                }
            });
    });
}

}  // namespace

void gather_training_batch(Context& context, const Tensor& images, const Tensor& labels, const ImageSet& set,
                           const BatchPlace& place, const Tensor& seed) {
    qstep::detail::check_batch(images, labels, set, place);
    check_tensor(place.epoch, "epoch", DType::i64, {1});
    check_tensor(seed, "seed", DType::i64, {1});
    const auto epoch = static_cast<std::uint32_t>(place.epoch.as<std::int64_t>()[0]);
    const auto key = static_cast<std::uint64_t>(seed.as<std::int64_t>()[0]);
    gather(context, images, labels, set, place,
           [=](std::int64_t image) { return draw_crop(key, epoch, image); });
}

void gather_evaluation_batch(Context& context, const Tensor& images, const Tensor& labels,
                             const ImageSet& set, const BatchPlace& place) {
    qstep::detail::check_batch(images, labels, set, place);
    gather(context, images, labels, set, place, [](std::int64_t) { return kWholeImage; });
}

void advance_counters(Context&, const Tensor& counters) {
    for (std::int64_t& counter : counters.span<std::int64_t>()) ++counter;
}

}  // namespace cpu

}  // namespace qstep
