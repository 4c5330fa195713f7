#include "layers/models/simple.h"

#include "layers/basic.h"
#include "layers/conv.h"

namespace qstep {

namespace {

Conv2d make_conv(ParameterStore& store, const std::string& name, std::int64_t in, std::int64_t out) {
    const Init init = Init::pytorch_default(in * 25);
    return Conv2d(store, name, {in, out, 5, 1, 0}, init, init);
}

class Simple : public Model {
  public:
    explicit Simple(ParameterStore& store)
        : conv1_(make_conv(store, "conv1", 3, 6)),
          conv2_(make_conv(store, "conv2", 6, 16)),
          fc1_(store, "fc1", 400, 120),
          fc2_(store, "fc2", 120, 84),
          fc3_(store, "fc3", 84, 10) {}

    Value* build(Tape& tape, Value* images, const DropoutSource&) const override {
        Value* x = build_max_pool(tape, build_relu(tape, conv1_.build(tape, images)), 2, 2);
        x = build_max_pool(tape, build_relu(tape, conv2_.build(tape, x)), 2, 2);
        x = build_relu(tape, fc1_.build(tape, build_flatten(tape, x)));
        x = build_relu(tape, fc2_.build(tape, x));
        return fc3_.build(tape, x);
    }

  private:
    Conv2d conv1_, conv2_;
    Linear fc1_, fc2_, fc3_;
};

}  // namespace

std::unique_ptr<Model> make_simple(ParameterStore& store) {
    return std::make_unique<Simple>(store);
}

}  // namespace qstep
