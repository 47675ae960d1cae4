# Puts a text file into a library, as a std::string_view of a header in src.
#   coppice_embed(TARGET FILE HEADER NAME)
function(coppice_embed target file header name)
  set(source "${CMAKE_BINARY_DIR}/embedded/${name}.cc")
  file(READ "${file}" text)
  file(CONFIGURE OUTPUT "${source}" @ONLY CONTENT [[
#include "@header@"

namespace coppice {

const std::string_view @name@ = R"embedded(@text@)embedded";

}  // namespace coppice
]])
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${file}")
  target_sources(${target} PRIVATE "${source}")
endfunction()
