# One interface target with our warnings; only our own targets link it. Third-party headers are SYSTEM.
add_library(coppice_warnings INTERFACE)
target_compile_options(coppice_warnings INTERFACE -Wall -Wextra -Wshadow -Wconversion)
option(COPPICE_WERROR "Treat warnings as errors" OFF)
if(COPPICE_WERROR)
  target_compile_options(coppice_warnings INTERFACE -Werror)
endif()
