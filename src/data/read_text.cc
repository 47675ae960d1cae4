// ReadText: a file's bytes, gunzipped by zlib where the name says so.
#include <fmt/format.h>
#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <system_error>

#include "core/error.h"
#include "core/file.h"
#include "data/dataset.h"

namespace coppice {
namespace {

struct CloseGzip {
  void operator()(gzFile_s* file) const { gzclose_r(file); }
};
using GzipFile = std::unique_ptr<gzFile_s, CloseGzip>;

constexpr unsigned kChunk = 1u << 20;

GzipFile OpenGzip(const std::filesystem::path& file) {
  std::error_code ignored;
  if (std::filesystem::is_directory(file, ignored)) {
    ThrowBadInput({.what = "not a file", .where = file.string(), .found = "a folder"});
  }
  errno = 0;
  GzipFile stream(gzopen(file.c_str(), "rb"));
  if (stream == nullptr) {
    if (errno == 0 || errno == ENOMEM) {
      ThrowEnvironment({.what = "out of memory", .where = file.string()});
    }
    ThrowBadInput(
        {.what = "cannot be opened", .where = file.string(), .found = std::strerror(errno)});
  }
  gzbuffer(stream.get(), kChunk);
  // zlib passes a file that is not gzip through unchanged; that would hide a wrong name.
  if (gzdirect(stream.get()) != 0) {
    ThrowBadInput({.what = "not a gzip file",
                   .where = file.string(),
                   .hint = "gzip it, or drop the ending .gz"});
  }
  return stream;
}

[[noreturn]] void FailRead(gzFile_s* stream, const std::filesystem::path& file) {
  int code = Z_OK;
  std::string reason = gzerror(stream, &code);
  // zlib puts the file's name first, as our message does already.
  if (const std::string name = file.string() + ": "; reason.starts_with(name)) {
    reason.erase(0, name.size());
  }
  if (code == Z_ERRNO || code == Z_MEM_ERROR) {
    ThrowEnvironment({.what = "cannot be read", .where = file.string(), .found = reason});
  }
  ThrowBadInput({.what = "corrupt gzip file", .where = file.string(), .found = reason});
}

std::string Gunzip(const std::filesystem::path& file, uint64_t limit) {
  const GzipFile stream = OpenGzip(file);
  std::string text;
  const std::unique_ptr<char[]> chunk(new char[kChunk]);
  while (true) {
    const int got = gzread(stream.get(), chunk.get(), kChunk);
    if (got < 0) FailRead(stream.get(), file);
    if (got == 0) break;
    text.append(chunk.get(), static_cast<size_t>(got));
    if (text.size() > limit) {
      ThrowBadInput({.what = "too much text",
                     .where = file.string(),
                     .expected = fmt::format("at most {} bytes unpacked", limit),
                     .hint = "split the file"});
    }
  }
  // A file cut short ends like a whole one; only the stream's state tells.
  int code = Z_OK;
  gzerror(stream.get(), &code);
  if (code != Z_OK && code != Z_STREAM_END) FailRead(stream.get(), file);
  return text;
}

}  // namespace

std::string ReadText(const std::filesystem::path& file, uint64_t limit) {
  return file.extension() == ".gz" ? Gunzip(file, limit) : ReadFile(file, limit);
}

}  // namespace coppice
