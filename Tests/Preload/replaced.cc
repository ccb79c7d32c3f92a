// SPDX-License-Identifier: BSD-2-Clause
//
// A program that brings its own operator new and delete, and only the two plain ones. The standard says that all other
// forms (array, nothrow, sized) then end in these two. The program's blocks carry a header, so a form that goes past them
// to the allocator hands over an address inside a block: the mistake shows at once. Aligned forms are a family of their own.

#include <cstddef>
#include <new>
#include <string>
#include <vector>

#include "scenario.h"

namespace {

const uint64_t mark = 0x6B72616D2073746F;
long live;

struct alignas(16) Header {
  uint64_t mark, size;
};

}  // namespace

void *operator new(std::size_t size) {
  auto *header = static_cast<Header *>(malloc(size + sizeof(Header)));
  if (!header) throw std::bad_alloc();
  *header = Header{mark, size};
  live++;
  return hide(header + 1);
}

#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wsized-deallocation"  // that the sized form is missing is the point
#endif
void operator delete(void *block) noexcept {
  if (!block) return;
  auto *header = static_cast<Header *>(hide(block)) - 1;
  CHECK(header->mark == mark, "%p was not made by the program's operator new", block);
  header->mark = 0;
  live--;
  free(header);
}

static void expectOurs(void *block, const char *form) {
  CHECK(block && static_cast<Header *>(block)[-1].mark == mark, "%s did not call the program's operator new", form);
}

int main(int count, char **arguments) {
  begin(count, arguments);
  long before = live;
  for (size_t size = 1; size < 5000; size += 7) {
    void *one = ::operator new(hideSize(size)), *many = ::operator new[](hideSize(size));
    void *quietOne = ::operator new(hideSize(size), std::nothrow), *quietMany = ::operator new[](hideSize(size), std::nothrow);
    expectOurs(one, "new");
    expectOurs(many, "new[]");
    expectOurs(quietOne, "nothrow new");
    expectOurs(quietMany, "nothrow new[]");
    CHECK(live == before + 4, "%ld blocks are live, not %ld", live, before + 4);
    ::operator delete(one, size);
    ::operator delete[](many, size);
    ::operator delete(quietOne, std::nothrow);
    ::operator delete[](quietMany, std::nothrow);
    many = ::operator new[](hideSize(size));
    ::operator delete[](many);
    auto *aligned = ::operator new(hideSize(size), std::align_val_t(64));
    CHECK((uintptr_t)aligned % 64 == 0, "aligned new gave %p", aligned);
    ::operator delete(aligned, size, std::align_val_t(64));
    CHECK(live == before, "%ld blocks are live, not %ld", live, before);
  }
  {
    // The standard library's own code, some of it compiled into libstdc++, allocates on one side and frees on the other.
    std::vector<std::string> words;
    for (int i = 0; i < 10000; i++) words.push_back(std::string((size_t)i % 200, 'x') + std::to_string(i));
    CHECK(words[777].size() == 777 % 200 + 3, "a string has changed");
  }
  CHECK(live == before, "%ld blocks are live, not %ld", live, before);
  return 0;
}
