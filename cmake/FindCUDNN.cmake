# Finds cuDNN: in CUDNN_ROOT, beside the CUDA Toolkit, where Debian puts it, or inside Python wheels
# (site-packages/nvidia/cudnn). Defines the target CUDNN::cudnn, CUDNN_INCLUDE_DIR, CUDNN_LIBRARY and CUDNN_VERSION.
# The library that programs are linked with is a thin one; it opens its parts (libcudnn_graph, ...) from its own folder.

set(cudnn_roots ${CUDNN_ROOT} $ENV{CUDNN_ROOT} ${CUDAToolkit_LIBRARY_ROOT} ${CUDAToolkit_TARGET_DIR})
foreach(folder IN LISTS CUDAToolkit_INCLUDE_DIRS CUDAToolkit_LIBRARY_DIR)
    list(APPEND cudnn_roots ${folder}/..)
endforeach()
file(GLOB cudnn_wheels
    $ENV{VIRTUAL_ENV}/lib/python3*/site-packages/nvidia/cudnn
    $ENV{HOME}/.local/lib/python3*/site-packages/nvidia/cudnn
    /usr/local/lib/python3*/site-packages/nvidia/cudnn
    /usr/local/lib/python3*/dist-packages/nvidia/cudnn
    /usr/lib/python3*/site-packages/nvidia/cudnn
    /usr/lib/python3/dist-packages/nvidia/cudnn)
list(APPEND cudnn_roots ${cudnn_wheels})

find_path(CUDNN_INCLUDE_DIR cudnn.h HINTS ${cudnn_roots}
    PATH_SUFFIXES include targets/${CMAKE_SYSTEM_PROCESSOR}-linux/include)
# Beside the header first, so that both are of one version. Wheels have no libcudnn.so, only the name that programs
# load.
find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 NAMES_PER_DIR HINTS ${CUDNN_INCLUDE_DIR}/.. ${cudnn_roots}
    PATH_SUFFIXES lib lib64 targets/${CMAKE_SYSTEM_PROCESSOR}-linux/lib)
mark_as_advanced(CUDNN_INCLUDE_DIR CUDNN_LIBRARY)

if(CUDNN_INCLUDE_DIR AND EXISTS "${CUDNN_INCLUDE_DIR}/cudnn_version.h")
    set(CUDNN_VERSION "")
    foreach(part MAJOR MINOR PATCHLEVEL)
        file(STRINGS "${CUDNN_INCLUDE_DIR}/cudnn_version.h" line REGEX "^#define CUDNN_${part} +[0-9]+")
        string(REGEX MATCH "[0-9]+$" number "${line}")
        string(APPEND CUDNN_VERSION ".${number}")
    endforeach()
    string(SUBSTRING "${CUDNN_VERSION}" 1 -1 CUDNN_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(CUDNN REQUIRED_VARS CUDNN_LIBRARY CUDNN_INCLUDE_DIR VERSION_VAR CUDNN_VERSION
    REASON_FAILURE_MESSAGE "set CUDNN_ROOT to the folder that holds include/cudnn.h and lib/libcudnn.so.9")

if(CUDNN_FOUND AND NOT TARGET CUDNN::cudnn)
    add_library(CUDNN::cudnn UNKNOWN IMPORTED)
    set_target_properties(CUDNN::cudnn PROPERTIES IMPORTED_LOCATION "${CUDNN_LIBRARY}"
                                                  INTERFACE_INCLUDE_DIRECTORIES "${CUDNN_INCLUDE_DIR}")
endif()
