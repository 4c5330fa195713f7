# Everything but convolution.
target_sources(qstep_kernels PRIVATE
    cpu/activation.cpp
    cpu/average_pool.cpp
    cpu/batch_norm.cpp
    cpu/batch_norm_finish.cpp
    cpu/batch_norm_loops.cpp
    cpu/convert.cpp
    cpu/dropout.cpp
    cpu/linear.cpp
    cpu/max_pool.cpp
    cpu/onednn_conv.cpp
    cpu/onednn_operation.cpp
    cpu/sgd.cpp
    cpu/softmax_cross_entropy.cpp)
