# Test programs under sanitizers, in the folders sanitized/ and threads/.
#
# sanitized/: AddressSanitizer and UndefinedBehaviorSanitizer over all of native/; of the kernels the latter alone, since the emulator watches their memory
# in the plain programs. A test's own code is that of the plain program. The product's objects come first on the command line, so that of a function which
# both have the sanitized one is taken.
set(NVLM_SANITIZER_FLAGS -O1 -g1 -UNDEBUG -fno-omit-frame-pointer)

add_library(nvlm_flags_sanitized INTERFACE)
target_link_libraries(nvlm_flags_sanitized INTERFACE nvlm_flags)
target_compile_options(nvlm_flags_sanitized INTERFACE ${NVLM_SANITIZER_FLAGS} -fsanitize=address,undefined -fno-sanitize-recover=all)
target_link_options(nvlm_flags_sanitized INTERFACE -fsanitize=address,undefined)
nvlm_folders(_sanitized)

get_property(sets GLOBAL PROPERTY NVLM_CPU_SETS)
list(TRANSFORM sets PREPEND cpu_)
set(NVLM_SANITIZED_OBJECTS "")
foreach(folder engine model reference cpu ${sets} host image ops platform)
  list(APPEND NVLM_SANITIZED_OBJECTS $<TARGET_OBJECTS:nvlm_${folder}_sanitized>)
  set_target_properties(nvlm_${folder}_sanitized PROPERTIES EXCLUDE_FROM_ALL ON)
endforeach()

add_library(nvlm_emulated_host_sanitized OBJECT ${NVLM_EMULATED_HOST})
nvlm_emulated(nvlm_emulated_host_sanitized)
target_link_libraries(nvlm_emulated_host_sanitized PRIVATE nvlm_flags_sanitized)
nvlm_compile_together(nvlm_emulated_host_sanitized)
add_library(nvlm_emulated_kernels_sanitized OBJECT ${NVLM_EMULATED_KERNELS})
nvlm_emulated(nvlm_emulated_kernels_sanitized)
target_compile_options(nvlm_emulated_kernels_sanitized PRIVATE ${NVLM_KERNEL_FLAGS} -O1 -g1 -UNDEBUG -fsanitize=undefined -fno-sanitize-recover=all)
set(NVLM_EMULATED_SANITIZED $<TARGET_OBJECTS:nvlm_emulator_machine> $<TARGET_OBJECTS:nvlm_emulated_host_sanitized> $<TARGET_OBJECTS:nvlm_emulated_kernels_sanitized>)

add_library(nvlm_emulator_sanitized MODULE ${NVLM_EMULATED_SANITIZED} $<TARGET_OBJECTS:nvlm_portable>)
target_link_libraries(nvlm_emulator_sanitized PRIVATE nvlm_flags_sanitized Threads::Threads ${CMAKE_DL_LIBS})
set_target_properties(nvlm_emulator_sanitized PROPERTIES PREFIX "" SUFFIX ".so" LINKER_LANGUAGE CXX LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/sanitized)

# The program `name` in a folder of its kind; ARGN are its objects, in their order.
function(nvlm_kind_of_program kind name)
  add_executable(${name}_${kind} ${ARGN})
  target_link_libraries(${name}_${kind} PRIVATE nvlm_flags_${kind} Threads::Threads ${CMAKE_DL_LIBS})
  set_target_properties(${name}_${kind} PROPERTIES OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/${kind} LINKER_LANGUAGE CXX)
endfunction()

add_library(nvlm_op_allocations_sanitized OBJECT support/op_allocations.cc)
target_include_directories(nvlm_op_allocations_sanitized PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(nvlm_op_allocations_sanitized PRIVATE nvlm_flags_sanitized)

foreach(source ${NVLM_TESTS} ${NVLM_CUDA_TESTS})
  get_filename_component(name ${source} NAME_WE)
  if(name MATCHES "^(emulator|cuda_traffic|cuda_steps)_test$")  # which look at what watched kernels do
    continue()
  endif()
  set(objects ${NVLM_SANITIZED_OBJECTS})
  if(source IN_LIST NVLM_CUDA_TESTS)
    list(APPEND objects ${NVLM_EMULATED_SANITIZED})
  endif()
  if(name STREQUAL ops_test OR name IN_LIST NVLM_TESTS_OF_CASES)
    list(APPEND objects $<TARGET_OBJECTS:nvlm_op_cases> $<TARGET_OBJECTS:nvlm_op_allocations_sanitized>)
  endif()
  nvlm_kind_of_program(sanitized ${name} ${objects} $<TARGET_OBJECTS:${name}> $<TARGET_OBJECTS:nvlm_test>)
endforeach()
foreach(name cuda_golden_test cuda_failures_test)
  add_dependencies(${name}_sanitized nvlm_emulator_sanitized)
endforeach()
nvlm_finds_fake_nvml(cuda_nvml_test_sanitized)

# threads/: ThreadSanitizer over the thread pool and the engine, whose model is support/fake_model.h. All that runs there is compiled for it, the tests too;
# what the linker misses beside it, of the model that nothing here runs, is the plain one.
add_library(nvlm_flags_threads INTERFACE)
target_link_libraries(nvlm_flags_threads INTERFACE nvlm_flags)
target_compile_options(nvlm_flags_threads INTERFACE ${NVLM_SANITIZER_FLAGS} -fsanitize=thread)
target_link_options(nvlm_flags_threads INTERFACE -fsanitize=thread)
set(NVLM_THREADS_SOURCES)
foreach(folder engine image platform)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/native/${folder}/*.cc)
  list(APPEND NVLM_THREADS_SOURCES ${sources})
endforeach()
add_library(nvlm_threads OBJECT ${NVLM_THREADS_SOURCES} support/check.cc)
target_include_directories(nvlm_threads PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(nvlm_threads PUBLIC nvlm_flags_threads)
nvlm_compile_together(nvlm_threads)
foreach(name threads_test engine_schedule_test engine_end_test)
  nvlm_kind_of_program(threads ${name} ${name}.cc $<TARGET_OBJECTS:nvlm_threads>)
  target_include_directories(${name}_threads PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${name}_threads PRIVATE nvlm_model)
endforeach()
