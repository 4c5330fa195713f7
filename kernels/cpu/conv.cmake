# Convolution and what is fused with it.
target_sources(qstep_kernels PRIVATE
    cpu/conv2d.cpp
    cpu/conv_bn.cpp
    cpu/direct_conv.cpp
    cpu/direct_conv_pack.cpp
    cpu/direct_conv_passes.cpp
    cpu/direct_conv_plan.cpp)

# The loops are the only code compiled for more than the baseline processor; they are chosen at run time.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    target_sources(qstep_kernels PRIVATE cpu/direct_conv_bf16.cpp cpu/direct_conv_f32.cpp)
    # Sanitizers make the unrolled loops so long that gcc needs minutes for them above -O1.
    set(optimise $<IF:$<BOOL:${QSTEP_SANITIZE}>,-O1,-O3>)
    # gcc 12 takes its own intrinsics' undefined operands for uninitialised variables (GCC bug 105593).
    set(avx512 ${optimise} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -Wno-uninitialized -Wno-maybe-uninitialized)
    set_source_files_properties(cpu/direct_conv_f32.cpp PROPERTIES COMPILE_OPTIONS "${avx512}")
    set_source_files_properties(cpu/direct_conv_bf16.cpp PROPERTIES COMPILE_OPTIONS "${avx512};-mavx512bf16")
    target_compile_definitions(qstep_kernels PRIVATE QSTEP_DIRECT_CONV)
endif()
