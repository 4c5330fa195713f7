#include "layers/models/simple.h"

#include "layers/basic.h"
#include "layers/conv.h"

namespace qstep {

namespace {

Linear make_linear(ParameterStore& store, const std::string& name, std::int64_t in, std::int64_t out) {
    const Conv2dInit init = pytorch_default_init(in);
    return Linear(store, name, in, out, init.weight, init.bias);
}

class Simple : public Model {
  public:
    explicit Simple(ParameterStore& store)
        : conv1_(store, "conv1", {3, 6, 5, 1, 0}, pytorch_default_init(3 * 25)),
          conv2_(store, "conv2", {6, 16, 5, 1, 0}, pytorch_default_init(6 * 25)),
          fc1_(make_linear(store, "fc1", 400, 120)),
          fc2_(make_linear(store, "fc2", 120, 84)),
          fc3_(make_linear(store, "fc3", 84, 10)) {}

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
