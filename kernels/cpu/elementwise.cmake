# Everything but convolution.
target_sources(qstep_kernels PRIVATE
    cpu/batch_norm_finish.cpp
    cpu/onednn_conv.cpp
    cpu/onednn_operation.cpp)
