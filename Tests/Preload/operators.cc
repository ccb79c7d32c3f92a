// SPDX-License-Identifier: BSD-2-Clause
//
// C++ operator new and delete in all their forms: single and array, sized, aligned, nothrow. They align as asked, give
// distinct blocks for no bytes, call the new_handler when memory cannot be had, throw bad_alloc or return null at the end.

#include <cstddef>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "scenario.h"

namespace {

using std::align_val_t;
using std::nothrow;

struct alignas(128) Wide {
  unsigned char bytes[384];
};

void checkBlock(void *block, size_t size, size_t alignment, const char *form) {
  CHECK(block, "%s gave null for %zu bytes", form, size);
  CHECK((uintptr_t)block % alignment == 0, "%s gave %p for alignment %zu", form, block, alignment);
  CHECK(malloc_usable_size(block) >= size, "%s: %zu bytes are usable for %zu", form, size, malloc_usable_size(block));
  paint(block, size, tagOf(block, size));
  verify(block, size, tagOf(block, size), form);
}

size_t natural(size_t size) { return size >= 16 ? 16 : 8; }

/// Every way to allocate with every way to free that the language lets follow it.
void plainForms(size_t size) {
  for (int way = 0; way < 3; way++) {
    void *one = ::operator new(size), *many = ::operator new[](size);
    void *quietOne = ::operator new(size, nothrow), *quietMany = ::operator new[](size, nothrow);
    checkBlock(one, size, natural(size), "new");
    checkBlock(many, size, natural(size), "new[]");
    checkBlock(quietOne, size, natural(size), "nothrow new");
    checkBlock(quietMany, size, natural(size), "nothrow new[]");
    CHECK(one != many && many != quietOne && quietOne != quietMany && one != quietOne, "blocks of %zu bytes coincide", size);
    switch (way) {
    case 0:
      ::operator delete(one);
      ::operator delete[](many);
      ::operator delete(quietOne);
      ::operator delete[](quietMany);
      break;
    case 1:
      ::operator delete(one, size);
      ::operator delete[](many, size);
      ::operator delete(quietOne, size);
      ::operator delete[](quietMany, size);
      break;
    default:
      ::operator delete(one, nothrow);
      ::operator delete[](many, nothrow);
      ::operator delete(quietOne, nothrow);
      ::operator delete[](quietMany, nothrow);
    }
  }
}

void alignedForms(size_t size, size_t alignment) {
  const auto asked = align_val_t(alignment);
  for (int way = 0; way < 3; way++) {
    void *one = ::operator new(size, asked), *many = ::operator new[](size, asked);
    void *quietOne = ::operator new(size, asked, nothrow), *quietMany = ::operator new[](size, asked, nothrow);
    checkBlock(one, size, alignment, "aligned new");
    checkBlock(many, size, alignment, "aligned new[]");
    checkBlock(quietOne, size, alignment, "aligned nothrow new");
    checkBlock(quietMany, size, alignment, "aligned nothrow new[]");
    switch (way) {
    case 0:
      ::operator delete(one, asked);
      ::operator delete[](many, asked);
      ::operator delete(quietOne, asked);
      ::operator delete[](quietMany, asked);
      break;
    case 1:
      ::operator delete(one, size, asked);
      ::operator delete[](many, size, asked);
      ::operator delete(quietOne, size, asked);
      ::operator delete[](quietMany, size, asked);
      break;
    default:
      ::operator delete(one, asked, nothrow);
      ::operator delete[](many, asked, nothrow);
      ::operator delete(quietOne, asked, nothrow);
      ::operator delete[](quietMany, asked, nothrow);
    }
  }
}

int handlerCalls;
struct GivenUp {};

void giveUpOnThird() {
  if (++handlerCalls == 3) std::set_new_handler(nullptr);
}

void throwOnSecond() {
  if (++handlerCalls == 2) throw GivenUp();
}

void *volatile sink;

template <class Call>
void expectFailure(const char *form, bool throws, Call call) {
  for (int custom = 0; custom < 2; custom++) {
    handlerCalls = 0;
    std::set_new_handler(custom ? throwOnSecond : giveUpOnThird);
    enum { returned, badAlloc, givenUp } outcome = returned;
    void *result = nullptr;
    try {
      sink = result = call();
    } catch (const std::bad_alloc &) {
      outcome = badAlloc;
    } catch (const GivenUp &) {
      outcome = givenUp;
    }
    std::set_new_handler(nullptr);
    CHECK(!result, "%s gave %p", form, result);
    CHECK(handlerCalls == (custom ? 2 : 3), "%s called the new_handler %d times", form, handlerCalls);
    // A nothrow form is noexcept: a handler may throw nothing but bad_alloc there, which is tried below.
    CHECK(outcome == (throws ? custom ? givenUp : badAlloc : returned), "%s ended in way %d", form, (int)outcome);
    if (!throws) break;
  }
}

void throwBadAlloc() {
  handlerCalls++;
  throw std::bad_alloc();
}

void failures() {
  const size_t huge = hideSize((size_t)PTRDIFF_MAX - 100000);
  const auto wide = align_val_t(256);
  expectFailure("new", true, [=] { return ::operator new(huge); });
  expectFailure("new[]", true, [=] { return ::operator new[](huge); });
  expectFailure("aligned new", true, [=] { return ::operator new(huge, wide); });
  expectFailure("aligned new[]", true, [=] { return ::operator new[](huge, wide); });
  expectFailure("nothrow new", false, [=] { return ::operator new(huge, nothrow); });
  expectFailure("nothrow new[]", false, [=] { return ::operator new[](huge, nothrow); });
  expectFailure("aligned nothrow new", false, [=] { return ::operator new(huge, wide, nothrow); });
  expectFailure("aligned nothrow new[]", false, [=] { return ::operator new[](huge, wide, nothrow); });
  std::set_new_handler(throwBadAlloc);
  handlerCalls = 0;
  sink = ::operator new(huge, nothrow);
  CHECK(!sink, "nothrow new gave %p", sink);
  sink = ::operator new[](huge, wide, nothrow);
  CHECK(!sink, "aligned nothrow new[] gave %p", sink);
  CHECK(handlerCalls == 2, "the new_handler was called %d times", handlerCalls);
  std::set_new_handler(nullptr);
  bool thrown = false;
  try {
    sink = new char[hideSize(SIZE_MAX / 2)];
  } catch (const std::bad_alloc &) {
    thrown = true;
  }
  CHECK(thrown, "new char[SIZE_MAX / 2] did not throw");
}

void containers(uint64_t stream) {
  Random random = randomFrom(stream);
  std::unordered_map<uint64_t, std::string> words;
  std::map<std::string, std::vector<int>> lists;
  std::vector<std::unique_ptr<Wide[]>> wides;
  std::vector<std::shared_ptr<std::string>> shared;
  for (unsigned long i = 0; i < scaled(30000); i++) {
    uint64_t key = below(&random, 5000);
    words[key] = std::string(key % 300, (char)('a' + key % 26));
    lists[words[key].substr(0, 20)].push_back((int)key);
    if (i % 64 == 0) wides.push_back(std::make_unique<Wide[]>(key % 5 + 1));
    if (wides.size() > 100) wides.erase(wides.begin(), wides.begin() + 50);
    shared.push_back(std::make_shared<std::string>(words[key]));
    if (shared.size() > 1000) shared.resize(500);
    if (below(&random, 3) == 0) words.erase(below(&random, 5000));
  }
  for (const auto &pair : words)
    CHECK(pair.second == std::string(pair.first % 300, (char)('a' + pair.first % 26)), "a string of the map changed");
  for (const auto &wide : wides) CHECK((uintptr_t)wide.get() % alignof(Wide) == 0, "an array of Wide is at %p", (void *)wide.get());
}

}  // namespace

int main(int count, char **arguments) {
  begin(count, arguments);
  for (unsigned i = 0; probeSize(i) <= 3u << 20; i++) plainForms(probeSize(i));
  for (unsigned i = 0; probeSize(i) <= 300000; i += 11)
    for (size_t alignment = 1; alignment <= 65536; alignment *= 2) alignedForms(probeSize(i), alignment);
  failures();
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < 3; i++) threads.emplace_back(containers, i);
  containers(99);
  for (auto &thread : threads) thread.join();
  return 0;
}
