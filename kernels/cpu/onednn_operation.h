// oneDNN as this project uses it: one engine and stream, descriptors of our tensors, primitives that are
// bound to addresses at each call. Errors of the library become qstep::Error.
#pragma once

#include <dnnl.hpp>
#include <initializer_list>
#include <string>
#include <unordered_map>
#include <utility>

#include "engine/context.h"
#include "engine/tensor.h"

namespace qstep::cpu::onednn {

using Desc = dnnl::memory::desc;
using Tag = dnnl::memory::format_tag;
using Type = dnnl::memory::data_type;

/// f32 or bf16; other types throw.
Type type_of(DType dtype);

/// The CPU engine, and the stream that primitives run on. Made per context (see runtime_of).
struct Runtime {
    dnnl::engine engine{dnnl::engine::kind::cpu, 0};
    dnnl::stream stream{engine};
};
/// The context's runtime; also makes the calling thread's OpenMP teams as large as the context says, since
/// oneDNN asks OpenMP for its thread count.
Runtime& runtime_of(const Context& context);

/// Scratch memory is the caller's; `accumulate` adds to what the destination holds.
dnnl::primitive_attr attributes(bool accumulate = false);

/// A primitive and the memory objects of its arguments.
class Operation {
  public:
    Operation() = default;
    /// Zero descriptors stand for absent arguments.
    Operation(const dnnl::engine& engine, const dnnl::primitive& primitive,
              std::initializer_list<std::pair<int, Desc>> arguments);
    /// Runs to the end. `addresses` names every argument; what it says of absent ones is ignored.
    void run(Runtime& runtime, std::initializer_list<std::pair<int, void*>> addresses);

  private:
    dnnl::primitive primitive_;
    std::unordered_map<int, dnnl::memory> arguments_;
};

/// A copy between two layouts or types of the same tensor: to = from, or to += from.
Operation make_reorder(const dnnl::engine& engine, const Desc& from, const Desc& to, bool accumulate = false);
void run_reorder(Runtime& runtime, Operation& reorder, void* to, const void* from);

/// Calls `make()` and turns dnnl::error into qstep::Error, with `what` (operation and shapes) in the
/// sentence.
template <typename Make>
auto checked(const std::string& what, Make&& make) {
    try {
        return make();
    } catch (const dnnl::error& error) {
        fail_run("oneDNN cannot run {}: {} (status {})", what, error.message, static_cast<int>(error.status));
    }
}

/// Throws a run error where memory is too short for the machine code of `what`.
void check_memory_for_code(const std::string& what);

/// The same for what makes primitives.
template <typename Make>
auto made(const std::string& what, Make&& make) {
    check_memory_for_code(what);
    return checked(what, std::forward<Make>(make));
}

}  // namespace qstep::cpu::onednn
