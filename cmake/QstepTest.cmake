# qstep_test(NAME target LIBRARIES libs... SOURCES files... [LABELS labels...]): one GoogleTest program, one ctest
# entry a case. The target `device_tests` builds all that have a label: those of the CUDA backend and its emulation.
add_custom_target(device_tests)
function(qstep_test)
    cmake_parse_arguments(ARG "" "NAME" "LIBRARIES;SOURCES;LABELS" ${ARGN})
    add_executable(${ARG_NAME} ${ARG_SOURCES})
    target_link_libraries(${ARG_NAME} PRIVATE ${ARG_LIBRARIES} qstep_options GTest::gtest GTest::gtest_main)
    set_target_properties(${ARG_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    if(ARG_LABELS)
        add_dependencies(device_tests ${ARG_NAME})
    endif()
    gtest_discover_tests(${ARG_NAME} WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} DISCOVERY_TIMEOUT 60
        PROPERTIES LABELS "${ARG_LABELS}")
endfunction()
