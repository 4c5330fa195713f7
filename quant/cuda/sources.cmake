# Kernels and host code of the CUDA codecs.
set(qstep_cuda_codecs
    cuda/codecs.cpp cuda/dorefa.cu cuda/error_feedback.cu cuda/exponential.cu cuda/fixed.cu cuda/hadamard.cu cuda/natural.cu
    cuda/none.cu cuda/qsgd.cu cuda/random_points.cu cuda/sign.cu cuda/smart.cu cuda/standard.cu cuda/task.cu)
