# Files of the CUDA backend that call cuDNN or cuBLASLt: the plans of library_plans.h. Under QSTEP_CUDA=EMULATED
# tests/emulation/library_plans.cpp stands in for them.
set(qstep_cuda_library_kernels
    cuda/cublas_handle.cpp cuda/cublas_matmul.cpp cuda/cudnn_graph.cpp cuda/cudnn_handle.cpp cuda/cudnn_plan.cpp
    cuda/narrow_choice.cpp)
