// The tape: a network laid out once for one batch shape, then run forward and backward any number of times.
//
// Layers add values and nodes while the network is built; memory for activations and for their gradients is
// planned then, so running allocates nothing. A backward function is told, per input, whether to overwrite
// the gradient, to accumulate into it or to leave it alone: gradients are never zeroed first.
#pragma once

#include <deque>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "engine/arena.h"
#include "engine/context.h"
#include "engine/grad_mode.h"
#include "engine/tensor.h"

namespace qstep {

/// An activation or a parameter and, where one is needed, the gradient of the loss with respect to it, of the
/// same type and shape.
struct Value {
    Tensor data;
    Tensor grad;
    bool needs_grad = false;
    bool is_parameter = false;
};

/// One operation. Both functions only launch kernels; they may run many times.
struct Node {
    std::string name;  // of its range in profilers
    std::vector<Value*> inputs;
    Value* output = nullptr;
    std::function<void(Context&)> forward;
    /// modes[i] says what to do with inputs[i]->grad. Called only when some mode is not `skip`.
    /// output->grad is this node's to destroy.
    std::function<void(Context&, std::span<const GradMode> modes)> backward;
    /// Index of an input whose gradient is, up to what backward writes, the output's gradient: when that
    /// input's gradient has no memory yet it takes over the output's (mode overwrite, same address), and the
    /// backward function must leave the input's gradient there. -1: none.
    int gradient_passes_to = -1;
};

/// The record of one network; for one thread. Values live as long as the tape.
class Tape {
  public:
    /// Activations and their gradients come from `step_arena`. `training`: layers record their training form
    /// (batch statistics, dropout) and backward() works; otherwise the evaluation form, without gradients.
    Tape(Context& context, Arena& step_arena, bool training);

    /// The context it was made with.
    Context& context() { return context_; }
    bool training() const { return training_; }

    /// Something the network reads: images, labels. No gradient.
    Value* input(DType dtype, const Shape& shape);
    /// A parameter living in flat buffers; `grad` is absent on evaluation tapes.
    Value* parameter(const Tensor& data, const Tensor& grad);
    /// The result of an operation. finish() gives it memory, so node functions keep the Value*, not the
    /// tensor.
    Value* activation(DType dtype, const Shape& shape);
    /// Memory that a node keeps from forward to backward (saved statistics, masks).
    Tensor keep(DType dtype, const Shape& shape) { return arena_.allocate(dtype, shape); }
    /// Adds an operation. Nodes run in the order in which they are added.
    void record(Node node);

    /// Ends building. `last` is the output of the last node. A training tape keeps every activation, and
    /// plans the gradients' memory for backward() from `last`, the loss, whose own backward needs no incoming
    /// gradient. An evaluation tape reuses the memory of activations that no later node reads; that of `last`
    /// and of the values in `kept` stays valid after forward(). An internal error where a parameter is read
    /// by two nodes: the second would overwrite the first one's gradient.
    void finish(const Value* last, std::initializer_list<const Value*> kept = {});

    /// Runs all nodes in the order of recording. Only launches.
    void forward();
    /// Overwrites the gradient of every parameter that the loss depends on.
    void backward();

    std::span<const Node> nodes() const { return nodes_; }
    /// What backward() tells node `index`; empty where it does not call it.
    std::span<const GradMode> modes(std::size_t index) const { return modes_[index]; }

  private:
    Tensor take_block(const Tensor& like);
    void release_block(const Tensor& tensor);
    void plan_activations(std::initializer_list<const Value*> kept);
    std::vector<GradMode> plan_backward(Node& node);

    Context& context_;
    Arena& arena_;
    bool training_;
    std::deque<Value> values_;
    std::vector<Node> nodes_;
    std::vector<std::vector<GradMode>> modes_;
    using Block = std::pair<void*, std::size_t>;
    std::vector<Block> all_blocks_;   // memory that is handed from value to value
    std::vector<Block> free_blocks_;  // of these, those whose value is finished
};

}  // namespace qstep
