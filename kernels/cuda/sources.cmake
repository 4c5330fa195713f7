# Own kernels (.cu) and host code around them (.cpp) of the CUDA backend. Under QSTEP_CUDA=EMULATED these very files
# are compiled as C++ too.
set(qstep_cuda_kernels
    cuda/channel_bias.cu cuda/conv_bn.cpp)
