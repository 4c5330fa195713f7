#include "layers/models/alexnet.h"

#include "layers/basic.h"
#include "layers/conv.h"

namespace qstep {

namespace {

Conv2d make_conv(ParameterStore& store, const std::string& name, std::int64_t in, std::int64_t out,
                 std::int64_t stride) {
    const Init init = Init::pytorch_default(in * 9);
    return Conv2d(store, name, {in, out, 3, stride, 1}, init, init);
}

class AlexNet : public Model {
  public:
    explicit AlexNet(ParameterStore& store)
        : conv1_(make_conv(store, "features.0", 3, 64, 2)),
          conv2_(make_conv(store, "features.3", 64, 192, 1)),
          conv3_(make_conv(store, "features.6", 192, 384, 1)),
          conv4_(make_conv(store, "features.8", 384, 256, 1)),
          conv5_(make_conv(store, "features.10", 256, 256, 1)),
          linear1_(store, "classifier.1", 256 * 2 * 2, 4096),
          linear2_(store, "classifier.4", 4096, 4096),
          linear3_(store, "classifier.6", 4096, 10) {}

    Value* build(Tape& tape, Value* images, const DropoutSource& dropout) const override {
        const auto conv_relu = [&](const Conv2d& conv, Value* x) {
            return build_relu(tape, conv.build(tape, x));
        };
        Value* x = build_max_pool(tape, conv_relu(conv1_, images), 2, 2);
        x = build_max_pool(tape, conv_relu(conv2_, x), 2, 2);
        x = conv_relu(conv4_, conv_relu(conv3_, x));
        x = build_max_pool(tape, conv_relu(conv5_, x), 2, 2);
        x = build_dropout(tape, build_flatten(tape, x), 0.5f, 0, dropout);
        x = build_relu(tape, linear1_.build(tape, x));
        x = build_dropout(tape, x, 0.5f, 1, dropout);
        x = build_relu(tape, linear2_.build(tape, x));
        return linear3_.build(tape, x);
    }

  private:
    Conv2d conv1_, conv2_, conv3_, conv4_, conv5_;
    Linear linear1_, linear2_, linear3_;
};

}  // namespace

std::unique_ptr<Model> make_alexnet(ParameterStore& store) {
    return std::make_unique<AlexNet>(store);
}

}  // namespace qstep
