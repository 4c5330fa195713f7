#include "engine/tape.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "engine/range.h"

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
    return &values_.emplace_back(Value{{nullptr, dtype, shape}, {}, false, false});
}

void Tape::record(Node node) {
    if (training_)
        node.output->needs_grad =
            std::ranges::any_of(node.inputs, [](const Value* input) { return input->needs_grad; });
    nodes_.push_back(std::move(node));
}

// Smallest free block that is large enough, else new memory.
Tensor Tape::take_block(const Tensor& like) {
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

void Tape::release_block(const Tensor& tensor) {
    free_blocks_.push_back(*std::ranges::find(all_blocks_, tensor.data, &Block::first));
}

void Tape::plan_activations(std::initializer_list<const Value*> kept) {
    std::unordered_map<const Value*, std::size_t> last_use;
    for (std::size_t i = 0; i < nodes_.size(); ++i)
        for (const Value* input : nodes_[i].inputs) last_use[input] = i;
    for (const Value* value : kept) last_use[value] = nodes_.size();
    std::unordered_set<const Value*> planned;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
        Value& output = *nodes_[i].output;
        output.data =
            training_ ? arena_.allocate(output.data.dtype, output.data.shape) : take_block(output.data);
        planned.insert(&output);
        if (training_) continue;
        for (const Value* input : nodes_[i].inputs)
            if (last_use[input] == i && planned.erase(input) == 1) release_block(input->data);
    }
}

std::vector<GradMode> Tape::plan_backward(Node& node) {
    std::vector<GradMode> modes(node.inputs.size(), GradMode::skip);
    bool passed_on = false;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
        Value& input = *node.inputs[i];
        if (!input.needs_grad) continue;
        if (input.is_parameter) {
            modes[i] = GradMode::overwrite;
        } else if (input.grad) {
            modes[i] = GradMode::accumulate;
        } else {
            modes[i] = GradMode::overwrite;
            const bool passes = static_cast<int>(i) == node.gradient_passes_to && node.output->grad;
            input.grad = passes ? Tensor{node.output->grad.data, input.data.dtype, input.data.shape}
                                : take_block(input.data);
            passed_on |= passes;
        }
    }
    if (node.output->grad && !passed_on) release_block(node.output->grad);
    return modes;
}

void Tape::finish(const Value* last, std::initializer_list<const Value*> kept) {
    QSTEP_CHECK(!nodes_.empty() && nodes_.back().output == last,
                "the last value is the output of the last node");
    plan_activations(kept);
    if (!training_) return;
    std::unordered_set<const void*> gradients;
    for (const Value& value : values_)
        QSTEP_CHECK(
            !value.is_parameter || !value.needs_grad || gradients.insert(value.grad.data).second,
            "a parameter is read by two nodes, and the second would overwrite the first one's gradient");
    modes_.resize(nodes_.size());
    for (std::size_t i = nodes_.size(); i-- > 0;) {
        Node& node = nodes_[i];
        // A node whose output nothing downstream reads has no gradient to pass on.
        if (node.output->needs_grad && (node.output == last || node.output->grad))
            modes_[i] = plan_backward(node);
    }
}

void Tape::forward() {
    const Range pass("forward");
    for (const Node& node : nodes_) {
        const Range op(node.name);
        node.forward(context_);
    }
}

void Tape::backward() {
    QSTEP_CHECK(modes_.size() == nodes_.size(), "backward() needs a finished training tape");
    const Range pass("backward");
    for (std::size_t i = nodes_.size(); i-- > 0;) {
        if (modes_[i].empty()) continue;
        const Range op(nodes_[i].name);
        nodes_[i].backward(context_, modes_[i]);
    }
}

}  // namespace qstep
