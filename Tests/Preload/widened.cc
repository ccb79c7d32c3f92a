// SPDX-License-Identifier: BSD-2-Clause
//
// A program that brings some operators new of its own, which ask malloc for more than they were told, and leaves delete to the allocator.
// So a delete that says a size says less than the block has, and is right. The roles say which operators are the program's.

#include <cstddef>
#include <cstdlib>
#include <new>

#include "scenario.h"

#if defined(PLAIN)
void *operator new(std::size_t size) { return hide(malloc(size + 48)); }
#elif defined(ARRAYS)
void *operator new[](std::size_t size) { return hide(malloc(size + 48)); }
#elif defined(ALIGNED)
void *operator new[](std::size_t size, std::align_val_t alignment) {
  void *block = nullptr;
  if (posix_memalign(&block, static_cast<std::size_t>(alignment), size + 100) != 0) throw std::bad_alloc();
  return hide(block);
}
#elif defined(QUIET)
void *operator new(std::size_t size, const std::nothrow_t &) noexcept { return hide(malloc(size + 64)); }
#endif

namespace {

struct Thing {
  char bytes[40];
  ~Thing() { bytes[0] = 1; }
};
struct alignas(64) Wide {
  char bytes[100];
  ~Wide() { bytes[0] = 1; }
};

}  // namespace

int main(int count, char **arguments) {
  begin(count, arguments);
  for (size_t number = 1; number < 300; number += 3) {
    delete static_cast<Thing *>(hide(new Thing));
    delete[] static_cast<Thing *>(hide(new Thing[hideSize(number)]));
    delete static_cast<Thing *>(hide(new (std::nothrow) Thing));
    delete static_cast<Wide *>(hide(new Wide));
    delete[] static_cast<Wide *>(hide(new Wide[hideSize(number)]));
    operator delete(hide(operator new(hideSize(number))), number);
    operator delete[](hide(operator new[](hideSize(number))), number);
    operator delete[](hide(operator new[](hideSize(number), std::align_val_t(64))), number, std::align_val_t(64));
  }
  return 0;
}
