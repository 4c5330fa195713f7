#include "layers/models/resnet.h"

#include <cmath>
#include <optional>

#include "layers/basic.h"
#include "layers/conv.h"

namespace qstep {

namespace {

Init he_init(std::int64_t kernel, std::int64_t out_channels) {
    return Init::normal(std::sqrt(2.0 / static_cast<double>(kernel * kernel * out_channels)));
}

Conv2d make_conv(ParameterStore& store, const std::string& name, std::int64_t in, std::int64_t out,
                 std::int64_t kernel, std::int64_t stride) {
    return Conv2d(store, name, {in, out, kernel, stride, kernel / 2}, he_init(kernel, out));
}

/// conv1, bn1, ReLU, conv2, bn2, + shortcut, ReLU.
class BasicBlock {
  public:
    BasicBlock(ParameterStore& store, const std::string& name, std::int64_t in, std::int64_t out,
               std::int64_t stride)
        : conv1_(make_conv(store, name + ".conv1", in, out, 3, stride)),
          bn1_(store, name + ".bn1", out, 1.0),
          conv2_(make_conv(store, name + ".conv2", out, out, 3, 1)),
          bn2_(store, name + ".bn2", out, 0.0) {
        if (stride == 1 && in == out) return;
        conv_shortcut_.emplace(make_conv(store, name + ".downsample.0", in, out, 1, stride));
        bn_shortcut_.emplace(store, name + ".downsample.1", out, 1.0);
    }

    ConvBnValue build(Tape& tape, const ConvBnValue& x) const {
        Value* shortcut = x;
        if (conv_shortcut_) shortcut = build_conv_bn(tape, *conv_shortcut_, *bn_shortcut_, x, nullptr, false);
        const ConvBnValue middle = build_conv_bn(tape, conv1_, bn1_, x, nullptr, true);
        return build_conv_bn(tape, conv2_, bn2_, middle, shortcut, true);
    }

  private:
    Conv2d conv1_;
    BatchNorm2d bn1_;
    Conv2d conv2_;
    BatchNorm2d bn2_;
    std::optional<Conv2d> conv_shortcut_;
    std::optional<BatchNorm2d> bn_shortcut_;
};

class ResNet : public Model {
  public:
    ResNet(int blocks_per_stage, ParameterStore& store)
        : conv1_(make_conv(store, "conv1", 3, 16, 3, 1)), bn1_(store, "bn1", 16, 1.0) {
        std::int64_t channels = 16;
        for (int stage = 1; stage <= 3; ++stage)
            for (int block = 0; block < blocks_per_stage; ++block) {
                const std::int64_t out = 16 << (stage - 1);
                const std::int64_t stride = stage > 1 && block == 0 ? 2 : 1;
                blocks_.emplace_back(store, fmt::format("layer{}.{}", stage, block), channels, out, stride);
                channels = out;
            }
        fc_.emplace(store, "fc", channels, 10, Init::normal(0.01), Init::constant(0.0));
    }

    Value* build(Tape& tape, Value* images, const DropoutSource&) const override {
        ConvBnValue x = build_conv_bn(tape, conv1_, bn1_, images, nullptr, true);
        for (const BasicBlock& block : blocks_) x = block.build(tape, x);
        Value* last = x;
        return fc_->build(tape, build_average_pool(tape, last, last->data.shape[1], 1));
    }

  private:
    Conv2d conv1_;
    BatchNorm2d bn1_;
    std::vector<BasicBlock> blocks_;
    std::optional<Linear> fc_;
};

}  // namespace

std::unique_ptr<Model> make_resnet(int depth, ParameterStore& store) {
    if (depth < 8 || depth > 1002 || (depth - 2) % 6 != 0)
        fail_usage(
            "a ResNet for CIFAR has depth 6n+2 with n from 1 to 166 (resnet_20, resnet_32, ...), not {}",
            depth);
    return std::make_unique<ResNet>((depth - 2) / 6, store);
}

}  // namespace qstep
