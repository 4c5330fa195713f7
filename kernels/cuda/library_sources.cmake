# Files of the CUDA backend that call cuDNN or cuBLASLt. Under QSTEP_CUDA=EMULATED tests/emulation/library_kernels.cpp
# stands in for them.
set(qstep_cuda_library_kernels)
