# Own kernels (.cu) and host code around them (.cpp) of the CUDA backend. Under QSTEP_CUDA=EMULATED these very files
# are compiled as C++ too.
set(qstep_cuda_kernels
    cuda/activation.cu
    cuda/arrival_counters.cpp
    cuda/average_pool.cu
    cuda/batch_assembly.cu
    cuda/batch_norm_apply.cu
    cuda/batch_norm_sums.cu
    cuda/channel_bias.cu
    cuda/conv2d.cpp
    cuda/conv_bn.cpp
    cuda/convert.cu
    cuda/dropout.cu
    cuda/layout.cu
    cuda/library_plans.cpp
    cuda/linear.cpp
    cuda/max_pool.cu
    cuda/narrow_conv_backward.cu
    cuda/narrow_conv_forward.cu
    cuda/narrow_conv_weights.cu
    cuda/narrow_timing.cpp
    cuda/sgd.cu
    cuda/softmax_cross_entropy.cu
    cuda/step_end.cu
    cuda/time_captured.cpp
    cuda/weight_copies.cu)
