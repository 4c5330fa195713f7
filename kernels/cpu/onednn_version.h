// The few places where the C++ interfaces of oneDNN 2 and oneDNN 3 differ: version 2 describes an operation
// in two steps (desc, then primitive_desc), version 3 in one. Every function returns an empty description
// (false) where the library has no implementation for this processor.
#pragma once

#include <dnnl.hpp>

namespace qstep::cpu::onednn {

/// Memory and geometry of a convolution. `bias` is the zero descriptor where there is none.
struct ConvolutionArguments {
    dnnl::memory::desc src, weights, bias, dst;
    dnnl::memory::dims strides, padding;
};

#if DNNL_VERSION_MAJOR >= 3

inline dnnl::convolution_forward::primitive_desc describe_forward(const dnnl::engine& engine,
                                                                  const ConvolutionArguments& a,
                                                                  const dnnl::primitive_attr& attributes) {
    return {engine,
            dnnl::prop_kind::forward_training,
            dnnl::algorithm::convolution_direct,
            a.src,
            a.weights,
            a.bias,
            a.dst,
            a.strides,
            a.padding,
            a.padding,
            attributes,
            true};
}

inline dnnl::convolution_backward_data::primitive_desc describe_backward_data(
    const dnnl::engine& engine, const ConvolutionArguments& a, const dnnl::primitive_attr& attributes,
    const dnnl::convolution_forward::primitive_desc& forward) {
    return {engine,    dnnl::algorithm::convolution_direct,
            a.src,     a.weights,
            a.dst,     a.strides,
            a.padding, a.padding,
            forward,   attributes,
            true};
}

inline dnnl::convolution_backward_weights::primitive_desc describe_backward_weights(
    const dnnl::engine& engine, const ConvolutionArguments& a, const dnnl::primitive_attr& attributes,
    const dnnl::convolution_forward::primitive_desc& forward) {
    return {engine,     dnnl::algorithm::convolution_direct,
            a.src,      a.weights,
            a.bias,     a.dst,
            a.strides,  a.padding,
            a.padding,  forward,
            attributes, true};
}

inline dnnl::matmul::primitive_desc describe_matmul(const dnnl::engine& engine, const dnnl::memory::desc& a,
                                                    const dnnl::memory::desc& b,
                                                    const dnnl::memory::desc& bias,
                                                    const dnnl::memory::desc& c,
                                                    const dnnl::primitive_attr& attributes) {
    return {engine, a, b, bias, c, attributes, true};
}

#else

inline dnnl::convolution_forward::primitive_desc describe_forward(const dnnl::engine& engine,
                                                                  const ConvolutionArguments& a,
                                                                  const dnnl::primitive_attr& attributes) {
    const dnnl::convolution_forward::desc operation(dnnl::prop_kind::forward_training,
                                                    dnnl::algorithm::convolution_direct, a.src, a.weights,
                                                    a.bias, a.dst, a.strides, a.padding, a.padding);
    return {operation, attributes, engine, true};
}

inline dnnl::convolution_backward_data::primitive_desc describe_backward_data(
    const dnnl::engine& engine, const ConvolutionArguments& a, const dnnl::primitive_attr& attributes,
    const dnnl::convolution_forward::primitive_desc& forward) {
    const dnnl::convolution_backward_data::desc operation(dnnl::algorithm::convolution_direct, a.src,
                                                          a.weights, a.dst, a.strides, a.padding, a.padding);
    return {operation, attributes, engine, forward, true};
}

inline dnnl::convolution_backward_weights::primitive_desc describe_backward_weights(
    const dnnl::engine& engine, const ConvolutionArguments& a, const dnnl::primitive_attr& attributes,
    const dnnl::convolution_forward::primitive_desc& forward) {
    const dnnl::convolution_backward_weights::desc operation(dnnl::algorithm::convolution_direct, a.src,
                                                             a.weights, a.bias, a.dst, a.strides, a.padding,
                                                             a.padding);
    return {operation, attributes, engine, forward, true};
}

inline dnnl::matmul::primitive_desc describe_matmul(const dnnl::engine& engine, const dnnl::memory::desc& a,
                                                    const dnnl::memory::desc& b,
                                                    const dnnl::memory::desc& bias,
                                                    const dnnl::memory::desc& c,
                                                    const dnnl::primitive_attr& attributes) {
    const dnnl::matmul::desc operation(a, b, bias, c);
    return {operation, attributes, engine, true};
}

#endif

}  // namespace qstep::cpu::onednn
