# Everything but convolution.
target_sources(qstep_kernels PRIVATE
    cpu/activation.cpp
    cpu/average_pool.cpp
    cpu/batch_assembly.cpp
    cpu/batch_norm.cpp
    cpu/batch_norm_finish.cpp
    cpu/batch_norm_loops.cpp
    cpu/convert.cpp
    cpu/crop_image.cpp
    cpu/dropout.cpp
    cpu/linear.cpp
    cpu/max_pool.cpp
    cpu/onednn_conv.cpp
    cpu/onednn_operation.cpp
    cpu/sgd.cpp
    cpu/softmax_cross_entropy.cpp
    cpu/step_end.cpp)

# Functions by hand for AVX-512, chosen at run time.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    target_sources(qstep_kernels PRIVATE cpu/batch_norm_avx512.cpp)
    # gcc 12 takes its own intrinsics' undefined operands for uninitialised variables (GCC bug 105593).
    set_source_files_properties(cpu/batch_norm_avx512.cpp PROPERTIES COMPILE_OPTIONS
        "-Wno-uninitialized;-Wno-maybe-uninitialized")
endif()
