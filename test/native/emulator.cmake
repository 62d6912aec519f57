# The CUDA library without a GPU: its sources through the C++ compiler, over the emulator (test/native/emulator).
#
# nvlm_emulator is what `device: 'emulator'` opens. The test programs link the same sources with every memory access of a kernel instrumented
# (-fsanitize=thread without its runtime: emulator/hooks.cc takes its place).
file(GLOB NVLM_EMULATOR CONFIGURE_DEPENDS emulator/*.cc)
file(GLOB NVLM_EMULATED_KERNELS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/native/cuda/kernels/*.cu)
file(GLOB NVLM_EMULATED_HOST CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/native/cuda/*.cc)
file(GLOB NVLM_PLANTED CONFIGURE_DEPENDS emulator/planted*.cu)
set_source_files_properties(${NVLM_EMULATED_KERNELS} ${NVLM_PLANTED} ptx_values.cu PROPERTIES LANGUAGE CXX)

set(NVLM_KERNEL_FLAGS -x c++ -O2 -fno-thread-jumps -Wno-unknown-pragmas)  # a barrier stays one place, as it is for nvcc
set(NVLM_WATCHED_FLAGS ${NVLM_KERNEL_FLAGS} -fsanitize=thread)

function(nvlm_emulated target)
  target_link_libraries(${target} PUBLIC nvlm_flags)
  target_include_directories(${target} PUBLIC ${CMAKE_CURRENT_FUNCTION_LIST_DIR})
  target_compile_definitions(${target} PUBLIC NVLM_EMULATOR)
  target_compile_options(${target} PUBLIC -Wno-unknown-pragmas -fno-gnu-unique)  # whose symbols would keep a library open, with its state
endfunction()

add_library(nvlm_emulator_machine OBJECT ${NVLM_EMULATOR})
nvlm_emulated(nvlm_emulator_machine)
target_compile_options(nvlm_emulator_machine PRIVATE -O2)

add_library(nvlm_emulated_host OBJECT ${NVLM_EMULATED_HOST})
nvlm_emulated(nvlm_emulated_host)
target_compile_options(nvlm_emulated_host PRIVATE -O1)

nvlm_compile_together(nvlm_emulator_machine nvlm_emulated_host)

add_library(nvlm_emulated_kernels_plain OBJECT ${NVLM_EMULATED_KERNELS})
nvlm_emulated(nvlm_emulated_kernels_plain)
target_compile_options(nvlm_emulated_kernels_plain PRIVATE ${NVLM_KERNEL_FLAGS})

add_library(nvlm_emulated_kernels_watched OBJECT ${NVLM_EMULATED_KERNELS})
nvlm_emulated(nvlm_emulated_kernels_watched)
target_compile_options(nvlm_emulated_kernels_watched PRIVATE ${NVLM_WATCHED_FLAGS})

set(NVLM_EMULATED $<TARGET_OBJECTS:nvlm_emulator_machine> $<TARGET_OBJECTS:nvlm_emulated_host>)

function(nvlm_emulator_library target kernels)
  add_library(${target} MODULE ${NVLM_EMULATED} $<TARGET_OBJECTS:${kernels}> $<TARGET_OBJECTS:nvlm_portable>)
  target_link_libraries(${target} PRIVATE nvlm_flags Threads::Threads ${CMAKE_DL_LIBS})
  set_target_properties(${target} PROPERTIES PREFIX "" SUFFIX ".so" LINKER_LANGUAGE CXX)
endfunction()
nvlm_emulator_library(nvlm_emulator nvlm_emulated_kernels_plain)
nvlm_emulator_library(nvlm_emulator_tested nvlm_emulated_kernels_watched)  # for cuda_steps_test

foreach(source ${NVLM_CUDA_TESTS})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source} ${NVLM_EMULATED} $<TARGET_OBJECTS:nvlm_emulated_kernels_watched>)
  nvlm_emulated(${name})
  nvlm_test_code(${name})
  target_link_libraries(${name} PRIVATE nvlm_engine)
  set_target_properties(${name} PROPERTIES ENABLE_EXPORTS ON)  # so that faults name kernels
  add_test(NAME ${name} COMMAND ${name})
endforeach()
foreach(name cuda_golden_test cuda_failures_test)
  add_dependencies(${name} nvlm_emulator)
  target_compile_definitions(${name} PRIVATE NVLM_EMULATOR_LIBRARY="$<TARGET_FILE:nvlm_emulator>")
endforeach()
add_dependencies(cuda_steps_test nvlm_emulator_tested)
target_compile_definitions(cuda_steps_test PRIVATE NVLM_EMULATOR_LIBRARY="$<TARGET_FILE:nvlm_emulator_tested>")
set(NVLM_TESTS_OF_CASES cuda_ops_test cuda_devices_test cuda_plan_test cuda_sample_test)
foreach(name ${NVLM_TESTS_OF_CASES} cuda_traffic_test)
  target_sources(${name} PRIVATE $<TARGET_OBJECTS:nvlm_op_cases> $<TARGET_OBJECTS:nvlm_op_allocations>)
endforeach()

# NVML's double, complete and without the first, second, … of its functions. The complete one has the driver's name, under which the test finds it before any
# other: by an rpath of the older kind, which comes first and holds for what a sanitizer opens as well.
foreach(missing RANGE 4)
  add_library(nvlm_fake_nvml_${missing} MODULE support/fake_nvml.cc)
  target_link_libraries(nvlm_fake_nvml_${missing} PRIVATE nvlm_flags)
  target_include_directories(nvlm_fake_nvml_${missing} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_definitions(nvlm_fake_nvml_${missing} PRIVATE FAKE_MISSING=${missing})
  set_target_properties(nvlm_fake_nvml_${missing} PROPERTIES PREFIX "" OUTPUT_NAME libnvidia-ml SUFFIX .so.1 LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/fake_nvml/${missing})
  add_dependencies(cuda_nvml_test nvlm_fake_nvml_${missing})
endforeach()
function(nvlm_finds_fake_nvml target)
  target_link_options(${target} PRIVATE -Wl,--disable-new-dtags)
  set_target_properties(${target} PROPERTIES BUILD_RPATH ${CMAKE_CURRENT_BINARY_DIR}/fake_nvml/0)
endfunction()
target_compile_definitions(cuda_nvml_test PRIVATE NVLM_FAKE_NVML="${CMAKE_CURRENT_BINARY_DIR}/fake_nvml")
nvlm_finds_fake_nvml(cuda_nvml_test)

target_sources(emulator_test PRIVATE emulator/planted.cu emulator/planted_launches.cu)
target_sources(cuda_traffic_test PRIVATE emulator/planted_traffic.cu)
target_sources(cuda_ptx_test PRIVATE ptx_values.cu)
set_source_files_properties(${NVLM_PLANTED} ptx_values.cu PROPERTIES COMPILE_OPTIONS "${NVLM_WATCHED_FLAGS}" SKIP_PRECOMPILE_HEADERS ON)
