# Kernels and host code of the CUDA codecs.
set(qstep_cuda_codecs)
