#include "engine/tape.h"

#include <algorithm>

namespace qstep {

Tape::Tape(Context& context, Arena& step_arena, bool training)
    : context_(context), arena_(step_arena), training_(training) {}

Value* Tape::input(DType dtype, const Shape& shape) {
    return &values_.emplace_back(Value{arena_.allocate(dtype, shape), {}, false, false});
}

Value* Tape::parameter(const Tensor& data, const Tensor& grad) {
    return &values_.emplace_back(Value{data, grad, training_ && grad, true});
}

Value* Tape::activation(DType dtype, const Shape& shape) {
    return &values_.emplace_back(Value{arena_.allocate(dtype, shape), {}, false, false});
}

void Tape::record(Node node) {
    if (training_)
        node.output->needs_grad =
            std::ranges::any_of(node.inputs, [](const Value* input) { return input->needs_grad; });
    nodes_.push_back(std::move(node));
}

// Smallest free block that is large enough, else new memory.
Tensor Tape::take_gradient_block(const Tensor& like) {
    const std::size_t bytes = like.bytes();
    auto best = free_blocks_.end();
    for (auto block = free_blocks_.begin(); block != free_blocks_.end(); ++block)
        if (block->second >= bytes && (best == free_blocks_.end() || block->second < best->second))
            best = block;
    if (best != free_blocks_.end()) {
        const Tensor tensor{best->first, like.dtype, like.shape};
        free_blocks_.erase(best);
        return tensor;
    }
    const Tensor tensor = arena_.allocate(like.dtype, like.shape);
    all_blocks_.emplace_back(tensor.data, bytes);
    return tensor;
}

std::vector<GradMode> Tape::plan_node(Node& node) {
    std::vector<GradMode> modes(node.inputs.size(), GradMode::skip);
    bool passed_on = false;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
        Value& input = *node.inputs[i];
        if (!input.needs_grad) continue;
        const bool first = input.is_parameter || !input.grad;
        // A parameter may be used twice; then the node that runs first in backward order overwrites.
        const bool seen =
            input.is_parameter && std::ranges::any_of(nodes_, [&](const Node& other) {
                return &other > &node && std::ranges::find(other.inputs, &input) != other.inputs.end();
            });
        modes[i] = first && !seen ? GradMode::overwrite : GradMode::accumulate;
        if (input.is_parameter || !first) continue;
        if (static_cast<int>(i) == node.gradient_passes_to && node.output->grad) {
            input.grad = Tensor{node.output->grad.data, input.data.dtype, input.data.shape};
            passed_on = true;
        } else {
            input.grad = take_gradient_block(input.data);
        }
    }
    if (node.output->grad && !passed_on) {
        const auto block =
            std::ranges::find(all_blocks_, node.output->grad.data, &std::pair<void*, std::size_t>::first);
        free_blocks_.push_back(*block);
    }
    return modes;
}

void Tape::finish(const Value* loss) {
    QSTEP_CHECK(training_, "only a training tape has gradients");
    QSTEP_CHECK(!nodes_.empty() && nodes_.back().output == loss, "the loss is the output of the last node");
    modes_.resize(nodes_.size());
    for (std::size_t i = nodes_.size(); i-- > 0;) {
        Node& node = nodes_[i];
        // A node that nothing downstream of it reads has no gradient to pass on.
        if (node.output->needs_grad && (node.output == loss || node.output->grad))
            modes_[i] = plan_node(node);
    }
}

void Tape::forward() {
    for (const Node& node : nodes_) node.forward(context_);
}

void Tape::backward() {
    QSTEP_CHECK(modes_.size() == nodes_.size(), "backward() before finish()");
    for (std::size_t i = nodes_.size(); i-- > 0;)
        if (!modes_[i].empty()) nodes_[i].backward(context_, modes_[i]);
}

}  // namespace qstep
