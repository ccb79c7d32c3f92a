// SPDX-License-Identifier: BSD-2-Clause
//
// The headers are C++, too: objects that are constructed once and used again and again, owned by a guard; a packet owned likewise.

#include <stave.h>

#include <memory>
#include <new>
#include <string>

#include "check.h"

namespace {

struct Parser {
  std::string buffer = std::string(200, 'x');
  int uses = 0;
};

int made, unmade;

int make(void *item, size_t, int) {
  new (item) Parser;
  made++;
  return 0;
}

void unmake(void *item, size_t) {
  static_cast<Parser *>(item)->~Parser();
  unmade++;
}

struct Return {
  stave_zone *zone;
  void operator()(Parser *parser) const { stave_zone_free(zone, parser); }
};

struct FreeChain {
  void operator()(stave_mbuf *chain) const { stave_m_freem(chain); }
};

}  // namespace

int main() {
  stave_zone *zone = stave_zone_create("parsers", sizeof(Parser), nullptr, nullptr, make, unmake, alignof(Parser) - 1, 0);
  CHECK(zone != nullptr);
  for (int round = 0; round < 1000; round++) {
    std::unique_ptr<Parser, Return> parser(static_cast<Parser *>(stave_zone_alloc(zone, STAVE_WAITOK)), Return{zone});
    CHECK(parser && parser->buffer.size() == 200);
    parser->uses++;
  }
  CHECK(made > 0 && made < 1000);
  CHECK(stave_zone_destroy(zone) == 0 && made == unmade);

  std::unique_ptr<stave_mbuf, FreeChain> packet(stave_m_gethdr(STAVE_WAITOK, STAVE_MT_DATA));
  CHECK(packet && stave_m_append(packet.get(), 5, "hello") && stave_m_pkthdr(packet.get())->len == 5);

  stave_pool *pool = stave_pool_create("pool", 100, STAVE_ALIGN_PTR, 0, 0, nullptr);
  stave_pool_put(pool, stave_pool_get(pool, STAVE_WAITOK | STAVE_LIMITFAIL));
  CHECK(stave_pool_destroy(pool) == 0);
  std::puts("fine");
}
