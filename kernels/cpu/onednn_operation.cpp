#include "kernels/cpu/onednn_operation.h"

#include <omp.h>
#include <sys/mman.h>

#include <memory>

namespace qstep::cpu::onednn {

namespace {

struct RuntimeKey {
    std::int64_t unused = 0;
};

// Some dozens of buffers of 256 KiB, the most that one primitive was seen to take.
constexpr std::size_t kCodeBytes = std::size_t{32} << 20;

}  // namespace

// oneDNN writes code without looking whether it got memory for it, and a process under `ulimit -v` would
// crash.
void check_memory_for_code(const std::string& what) {
    void* address = mmap(nullptr, kCodeBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address == MAP_FAILED)
        fail_run("the machine has no {} MiB of memory left, which {} may need", kCodeBytes >> 20, what);
    munmap(address, kCodeBytes);
}

Type type_of(DType dtype) {
    QSTEP_CHECK(dtype == DType::f32 || dtype == DType::bf16, "oneDNN is used for f32 and bf16, not for {}",
                name_of(dtype));
    return dtype == DType::f32 ? Type::f32 : Type::bf16;
}

Runtime& runtime_of(const Context& context) {
    omp_set_num_threads(context.threads());
    return context.plans().get<Runtime>(RuntimeKey{}, [] {
        return checked("on this processor", [] { return std::make_shared<Runtime>(); });
    });
}

dnnl::primitive_attr attributes(bool accumulate) {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (accumulate) {
        dnnl::post_ops sum;
        sum.append_sum(1.0f);
        attributes.set_post_ops(sum);
    }
    return attributes;
}

Operation::Operation(const dnnl::engine& engine, const dnnl::primitive& primitive,
                     std::initializer_list<std::pair<int, Desc>> arguments)
    : primitive_(primitive) {
    for (const auto& [name, desc] : arguments)
        if (desc.get_size() > 0) arguments_.emplace(name, dnnl::memory(desc, engine, DNNL_MEMORY_NONE));
}

void Operation::run(Runtime& runtime, std::initializer_list<std::pair<int, void*>> addresses) {
    checked("a primitive", [&] {
        for (const auto& [name, address] : addresses)
            if (const auto found = arguments_.find(name); found != arguments_.end())
                found->second.set_data_handle(address);
        primitive_.execute(runtime.stream, arguments_);
        runtime.stream.wait();
    });
}

Operation make_reorder(const dnnl::engine& engine, const Desc& from, const Desc& to, bool accumulate) {
    return made("a reorder", [&] {
        dnnl::primitive_attr attr;
        if (accumulate) {
            dnnl::post_ops sum;
            sum.append_sum(1.0f);
            attr.set_post_ops(sum);
        }
        const dnnl::reorder::primitive_desc description(engine, from, engine, to, attr);
        return Operation(engine, dnnl::reorder(description), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
    });
}

void run_reorder(Runtime& runtime, Operation& reorder, void* to, const void* from) {
    reorder.run(runtime, {{DNNL_ARG_FROM, const_cast<void*>(from)}, {DNNL_ARG_TO, to}});
}

}  // namespace qstep::cpu::onednn
