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

void unpack_weight_gradient(float* dw, bool accumulate, const float* partial, int partials,
                            std::int64_t partial_step, const Plan& plan, int part, int parts) {
    const Conv2dShape& s = plan.shape;
    const std::int64_t words = plan.in_channels_per_block, taps = s.kernel_h * s.kernel_w;
    const std::int64_t block = taps * words * kLanes;
    for (std::int64_t o = s.out_channels * part / parts; o < s.out_channels * (part + 1) / parts; ++o)
        for (std::int64_t i = 0; i < s.in_channels; ++i)
            for (std::int64_t tap = 0; tap < taps; ++tap) {
                const std::int64_t at = (o / kLanes * plan.in_blocks + i / words) * block +
                                        (tap * words + i % words) * kLanes + o % kLanes;
                float& to = dw[(o * s.in_channels + i) * taps + tap];
                float sum = accumulate ? to : 0.0f;
                for (int p = 0; p < partials; ++p) sum += partial[p * partial_step + at];
                to = sum;
            }
}

}  // namespace qstep::cpu::direct
