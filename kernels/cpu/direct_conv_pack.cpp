// Weights on their way into, and weight gradients on their way out of, the layouts of the direct convolution.
#include "engine/bf16.h"
#include "kernels/cpu/direct_conv_plan.h"

namespace qstep::cpu::direct {

namespace {

Word pack_word(const WeightView& view, std::int64_t to, std::int64_t from, std::int64_t last_from,
               std::int64_t tap) {
    const float* w = view.w + to * view.to_step + tap;
    if (!view.narrow) return std::bit_cast<Word>(w[from * view.from_step]);
    const Word low = to_bf16(w[from * view.from_step]).bits;
    const Word high = from + 1 < last_from ? to_bf16(w[(from + 1) * view.from_step]).bits : 0;
    return low | high << 16;
}

}  // namespace

std::int64_t packed_words(const PackedTaps& taps, std::int64_t from_blocks, int words,
                          std::int64_t to_channels) {
    return to_channels * from_blocks * words * taps.row_taps * (taps.run_taps[0] + taps.run_taps[1]);
}

void pack_weights(Word* packed, const WeightView& view, const PackedTaps& taps, int part, int parts) {
    const std::int64_t lanes = tile_vectors(view.to_channels) * kLanes;
    const std::int64_t from_blocks = view.from_channels / view.from_per_block;
    const int words = words_of(view.from_per_block, view.narrow), step = view.narrow ? 2 : 1;
    const std::int64_t all = view.to_channels / lanes * from_blocks;
    const std::int64_t block_words = packed_words(taps, 1, words, lanes);
    for (std::int64_t at = all * part / parts; at < all * (part + 1) / parts; ++at) {
        const std::int64_t to = at / from_blocks * lanes, from = at % from_blocks * view.from_per_block;
        Word* out = packed + at * block_words;
        for (int row = 0; row < taps.row_taps; ++row)
            for (int run = 0; run < 2; ++run)
                for (int word = 0; word < words; ++word)
                    for (int k = 0; k < taps.run_taps[run]; ++k) {
                        const std::int64_t tap = taps.row[row] * view.kernel_w + taps.column[run][k];
                        for (std::int64_t lane = 0; lane < lanes; ++lane)
                            *out++ = pack_word(view, to + lane, from + word * step,
                                               from + view.from_per_block, tap);
                    }
    }
}

void unpack_weight_gradient(float* dw, bool accumulate, float* partial, int partials,
                            std::int64_t partial_step, const Plan& plan, int part, int parts) {
    const Conv2dShape& s = plan.shape;
    const std::int64_t words = plan.in_channels_per_block, taps = s.kernel_h * s.kernel_w;
    const std::int64_t block = taps * words * kLanes, all = plan.out_blocks * plan.in_blocks;
    for (std::int64_t at = all * part / parts; at < all * (part + 1) / parts; ++at) {
        float* sum = partial + at * block;
        for (int p = 1; p < partials; ++p)
            for (std::int64_t k = 0; k < block; ++k) sum[k] += sum[p * partial_step + k];
        const std::int64_t first_out = at / plan.in_blocks * kLanes, first_in = at % plan.in_blocks * words;
        for (std::int64_t lane = 0; lane < kLanes; ++lane) {
            float* to = dw + ((first_out + lane) * s.in_channels + first_in) * taps;
            for (std::int64_t i = 0; i < words; ++i)
                for (std::int64_t tap = 0; tap < taps; ++tap, ++to)
                    *to = (accumulate ? *to : 0.0f) + sum[(tap * words + i) * kLanes + lane];
        }
    }
}

}  // namespace qstep::cpu::direct
