#include "kernels/cuda/cudnn_graph.h"

#include <array>

#include "engine/error.h"

namespace qstep::cuda {

namespace {

using Extents = std::array<std::int64_t, 4>;

cudnnDataType_t library_type(std::int64_t dtype) {
    return dtype == static_cast<std::int64_t>(DType::bf16) ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

// cuDNN lists extents as N,C,H,W whatever the layout; the strides say that channels are innermost.
CudnnDescriptor describe_tensor(std::int64_t id, std::int64_t dtype, const Extents& nchw) {
    const auto [n, c, h, w] = nchw;
    CudnnDescriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, library_type(dtype))
        .set(CUDNN_ATTR_TENSOR_DIMENSIONS, nchw)
        .set(CUDNN_ATTR_TENSOR_STRIDES, Extents{h * w * c, 1, w * c, c})
        .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, id)
        .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, kWidestAlignment)
        .finalize(fmt::format("a tensor of N {}, C {}, H {}, W {}", n, c, h, w));
    return tensor;
}

CudnnDescriptor describe_convolution(const Conv2dShape& shape) {
    using Pair = std::array<std::int64_t, 2>;
    const Pair pad{shape.pad, shape.pad};
    CudnnDescriptor convolution(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    convolution.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT)
        .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION)
        .set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, std::int64_t{2})
        .set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, pad)
        .set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, pad)
        .set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, Pair{shape.stride, shape.stride})
        .set(CUDNN_ATTR_CONVOLUTION_DILATIONS, Pair{1, 1})
        .finalize("a convolution");
    return convolution;
}

/// The names that one pass's operation gives its attributes.
struct OperationNames {
    cudnnBackendDescriptorType_t operation;
    cudnnBackendAttributeName_t convolution, x, w, y, alpha, beta;
};

OperationNames names_of(ConvPass pass) {
    if (pass == ConvPass::forward)
        return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
    if (pass == ConvPass::backward_data)
        return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
}

template <typename Note, std::size_t Count>
void read_notes(const CudnnDescriptor& engine, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, bool (&present)[Count]) {
    std::array<Note, Count> notes{};
    std::int64_t count = 0;
    QSTEP_CUDNN_CHECK(cudnnBackendGetAttribute(engine.raw(), name, type, static_cast<std::int64_t>(Count),
                                               &count, notes.data()),
                      "the notes of an engine");
    for (std::size_t i = 0; i < static_cast<std::size_t>(count) && i < Count; ++i)
        if (static_cast<std::size_t>(notes[i]) < Count) present[notes[i]] = true;
}

}  // namespace

ConvGraph::ConvGraph(const CudnnTarget& target, const ConvProblem& problem)
    : properties_(target.properties),
      x_(describe_tensor(
          kIds[0], problem.dtype,
          {problem.shape.batch, problem.shape.in_channels, problem.shape.height, problem.shape.width})),
      w_(describe_tensor(kIds[1], problem.dtype,
                         {problem.shape.out_channels, problem.shape.in_channels, problem.shape.kernel_h,
                          problem.shape.kernel_w})),
      y_(describe_tensor(kIds[2], problem.dtype,
                         {problem.shape.batch, problem.shape.out_channels, problem.shape.out_height(),
                          problem.shape.out_width()})),
      convolution_(describe_convolution(problem.shape)),
      operation_(names_of(problem.pass).operation),
      graph_(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) {
    const OperationNames names = names_of(problem.pass);
    operation_.set(names.convolution, convolution_)
        .set(names.x, x_)
        .set(names.w, w_)
        .set(names.y, y_)
        .set(names.alpha, CUDNN_TYPE_FLOAT, 1.0f)
        .set(names.beta, CUDNN_TYPE_FLOAT, problem.accumulate != 0 ? 1.0f : 0.0f)
        .finalize(problem.to_string());
    if (target.handle != nullptr)
        graph_.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, target.handle);
    graph_.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation_).finalize(problem.to_string());
}

std::vector<CudnnDescriptor> ConvGraph::configurations(cudnnBackendHeurMode_t mode) const {
    CudnnDescriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph_)
        .set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode);
    if (properties_ != nullptr) heuristic.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *properties_);
    if (heuristic.try_finalize() != CUDNN_STATUS_SUCCESS) return {};
    std::int64_t count = 0;
    if (cudnnBackendGetAttribute(heuristic.raw(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, nullptr) != CUDNN_STATUS_SUCCESS)
        return {};
    std::vector<CudnnDescriptor> configurations;
    std::vector<cudnnBackendDescriptor_t> raw;
    for (std::int64_t i = 0; i < count; ++i)
        raw.push_back(configurations.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).raw());
    std::int64_t filled = 0;
    if (count > 0)
        QSTEP_CUDNN_CHECK(cudnnBackendGetAttribute(heuristic.raw(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                                   CUDNN_TYPE_BACKEND_DESCRIPTOR, count, &filled, raw.data()),
                          "the results of a heuristic");
    configurations.erase(configurations.begin() + filled, configurations.end());
    return configurations;
}

EngineNotes notes_of(const CudnnDescriptor& configuration) {
    const CudnnDescriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    cudnnBackendDescriptor_t raw = engine.raw();
    std::int64_t count = 0;
    QSTEP_CUDNN_CHECK(cudnnBackendGetAttribute(configuration.raw(), CUDNN_ATTR_ENGINECFG_ENGINE,
                                               CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &raw),
                      "the engine of a configuration");
    EngineNotes notes;
    QSTEP_CUDNN_CHECK(cudnnBackendGetAttribute(engine.raw(), CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64,
                                               1, &count, &notes.index),
                      "the number of an engine");
    read_notes<cudnnBackendNumericalNote_t>(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                            CUDNN_TYPE_NUMERICAL_NOTE, notes.numerical);
    read_notes<cudnnBackendBehaviorNote_t>(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE,
                                           notes.behavior);
    return notes;
}

bool is_admissible(const EngineNotes& engine, const ConvProblem& problem, const Numerics& numerics) {
    const auto& has = engine.numerical;
    if (has[CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION] ||
        has[CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS] || has[CUDNN_NUMERICAL_NOTE_FFT] ||
        has[CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6] || has[CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13])
        return false;
    const bool winograd = has[CUDNN_NUMERICAL_NOTE_WINOGRAD] || has[CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4];
    if (problem.in_bf16() && winograd) return false;
    if (winograd && !has[CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4]) return false;
    // An engine on tensor cores rounds f32 factors to tf32.
    if (!problem.in_bf16() && !numerics.tf32 && has[CUDNN_NUMERICAL_NOTE_TENSOR_CORE]) return false;
    if (numerics.deterministic && has[CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC]) return false;
    // cuDNN documents beta for its precompiled convolutions only.
    if (problem.accumulate != 0 && engine.behavior[CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION]) return false;
    return !engine.behavior[CUDNN_BEHAVIOR_NOTE_REQUIRES_FILTER_INT8x32_REORDER] &&
           !engine.behavior[CUDNN_BEHAVIOR_NOTE_REQUIRES_BIAS_INT8x32_REORDER];
}

}  // namespace qstep::cuda
