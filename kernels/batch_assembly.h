// Batches out of a data set in device memory: gather, random crop, horizontal flip, normalisation
// (image_crop.h) in one pass. The seed and what changes from step to step - the epoch, the batch's number,
// the order of the images - are device data, so that one captured step serves every batch. Deterministic; in
// f32 the same bits on every device.
#pragma once

#include "engine/context.h"
#include "engine/tensor.h"
#include "kernels/image_crop.h"

namespace qstep {

/// In the layout of the CIFAR-10 files.
struct ImageSet {
    Tensor images;  // u8 [count,3072]: all red bytes of an image, row by row from the top, then green, blue
    Tensor labels;  // u8 [count]
};

/// Row i of the batch is image order[batch * batch_size + i].
struct BatchPlace {
    Tensor order;                 // i32 [count]; absent: the images as they lie
    Tensor epoch;                 // i64 [1]
    Tensor batch;                 // i64 [1], the batch's number in the epoch
    std::int64_t batch_size = 0;  // of whole batches; the last may be smaller
};

/// images ([n,32,32,3], f32 or bf16) and labels ([n] i32), both overwritten; image k is cropped by
/// draw_crop(seed, epoch, k); seed: i64 [1]. Launched work cannot throw: a row whose place or index lies
/// outside the set becomes NaN with label 0, and so shows in the loss.
void gather_training_batch(Context& context, const Tensor& images, const Tensor& labels, const ImageSet& set,
                           const BatchPlace& place, const Tensor& seed);
/// The same without crop and flip; place.epoch is not read and may be absent.
void gather_evaluation_batch(Context& context, const Tensor& images, const Tensor& labels,
                             const ImageSet& set, const BatchPlace& place);

/// Adds 1 to each of a few counters ([n] i64): the end of a step that finds its own place.
void advance_counters(Context& context, const Tensor& counters);

namespace detail {
/// Throws unless the tensors fit each other as above.
void check_batch(const Tensor& images, const Tensor& labels, const ImageSet& set, const BatchPlace& place);
}  // namespace detail

}  // namespace qstep
