#include "data/augment.h"

#include "engine/error.h"

namespace qstep {
namespace {

template <typename T, typename CropOf>
void write_batch(const Tensor& images, const Tensor& labels, const Dataset& dataset,
                 std::span<const std::int32_t> indices, CropOf&& crop_of) {
    T* to = images.as<T>();
    std::int32_t* label_to = labels.as<std::int32_t>();
    for (const std::int32_t index : indices) {
        QSTEP_CHECK(index >= 0 && index < dataset.count(), "image {} of {}", index, dataset.count());
        write_image(to, dataset.image(index), crop_of(index));
        to += kImageBytes;
        *label_to++ = dataset.labels[static_cast<std::size_t>(index)];
    }
}

template <typename CropOf>
void assemble(const Tensor& images, const Tensor& labels, const Dataset& dataset,
              std::span<const std::int32_t> indices, CropOf&& crop_of) {
    const auto n = static_cast<std::int64_t>(indices.size());
    check_tensor(images, "images", images.dtype, {n, kImageSide, kImageSide, kImageChannels});
    check_tensor(labels, "labels", DType::i32, {n});
    QSTEP_CHECK(images.dtype == DType::f32 || images.dtype == DType::bf16, "images cannot be {}",
                name_of(images.dtype));
    if (images.dtype == DType::f32)
        write_batch<float>(images, labels, dataset, indices, crop_of);
    else
        write_batch<bf16>(images, labels, dataset, indices, crop_of);
}

}  // namespace

void assemble_training_batch(const Tensor& images, const Tensor& labels, const Dataset& dataset,
                             std::span<const std::int32_t> indices, std::uint64_t seed, std::uint32_t epoch) {
    assemble(images, labels, dataset, indices,
             [&](std::int32_t index) { return draw_crop(seed, epoch, index); });
}

void assemble_evaluation_batch(const Tensor& images, const Tensor& labels, const Dataset& dataset,
                               std::span<const std::int32_t> indices) {
    assemble(images, labels, dataset, indices, [](std::int32_t) { return kWholeImage; });
}

}  // namespace qstep
