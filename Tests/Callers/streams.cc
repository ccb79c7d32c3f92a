// SPDX-License-Identifier: BSD-2-Clause
//
// Calls `probe` from under libstdc++: out of a stream buffer, which ostream's formatting calls, and while an exception that was
// thrown there has been caught.

#include "callers.h"
#include <ostream>
#include <stdexcept>
#include <streambuf>

namespace {
struct Buffer : std::streambuf {
  int overflow(int character) override { return probe(1) == 2 ? character : -1; }
};
}

extern "C" size_t call_ostream() {
  Buffer buffer;
  std::ostream stream(&buffer);
  stream << 7;
  return stream.good();
}

extern "C" size_t call_catch() {
  try {
    throw std::runtime_error("thrown");
  } catch (const std::exception &error) {
    return probe(1) == 2 && error.what()[0] == 't';
  }
}
