# Kernels and host code of the CUDA codecs.
set(qstep_cuda_codecs
    cuda/codecs.cpp cuda/error_feedback.cu cuda/exponential.cu cuda/hadamard.cu cuda/none.cu cuda/smart.cu cuda/standard.cu cuda/task.cu)
