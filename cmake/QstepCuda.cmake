# QSTEP_CUDA chooses what stands behind the device "cuda":
#   OFF       nothing; asking for it is an error
#   ON        NVIDIA GPUs, with the CUDA Toolkit and cuDNN
#   EMULATED  the same kernels on the CPU, through tests/emulation, for tests: slow, and exact about misuse
set(QSTEP_CUDA OFF CACHE STRING "CUDA backend: OFF, ON or EMULATED")
set_property(CACHE QSTEP_CUDA PROPERTY STRINGS OFF ON EMULATED)
option(QSTEP_FIND_RACES "Let the emulation report accesses of a kernel's threads that nothing orders" OFF)

if(QSTEP_CUDA STREQUAL "EMULATED")
    target_compile_definitions(qstep_options INTERFACE QSTEP_WITH_CUDA QSTEP_EMULATED_CUDA)
    if(QSTEP_FIND_RACES)
        # Calls tests/emulation/race_hooks.cpp before each access; ThreadSanitizer's own library is not linked.
        target_compile_options(qstep_options INTERFACE -fsanitize=thread)
    endif()
elseif(QSTEP_CUDA)
    if(NOT CMAKE_CUDA_ARCHITECTURES)
        set(CMAKE_CUDA_ARCHITECTURES "80-real;90")
    endif()
    enable_language(CUDA)
    # CMake before 3.26 does not know how nvcc is told the language standard that goes with CMAKE_CXX_STANDARD.
    foreach(form STANDARD EXTENSION)
        if(NOT CMAKE_CUDA20_${form}_COMPILE_OPTION)
            set(CMAKE_CUDA20_${form}_COMPILE_OPTION -std=c++20)
        endif()
    endforeach()
    find_package(CUDAToolkit 13 REQUIRED)
    find_package(CUDNN 9 REQUIRED)
    target_compile_definitions(qstep_options INTERFACE QSTEP_WITH_CUDA)
    # nvcc cannot evaluate fmt's compile-time check of format strings; there it is done at run time.
    target_compile_definitions(qstep_options INTERFACE
        "$<$<COMPILE_LANGUAGE:CUDA>:FMT_CONSTEVAL=;FMT_USE_CONSTEXPR=1>")
    target_compile_options(qstep_options INTERFACE
        "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Werror>"
        $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()

# qstep_cuda_sources(TARGET FILES...): adds .cu and .cpp files of the CUDA backend, in the way this build compiles them.
function(qstep_cuda_sources target)
    target_sources(${target} PRIVATE ${ARGN})
    if(QSTEP_CUDA STREQUAL "EMULATED")
        list(FILTER ARGN INCLUDE REGEX "\\.cu$")
        # What only nvcc knows, such as `#pragma unroll`, means nothing here.
        set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-Wno-unknown-pragmas")
    endif()
endfunction()
