// SPDX-License-Identifier: BSD-2-Clause
//
// The public part of a malloc type, owned by whoever declares it. Its size and layout never change; what the library keeps of a
// type is behind `internals`, so that it can change without rebuilding anybody. Part of stave.h.

#ifndef STAVE_TYPE_H
#define STAVE_TYPE_H

#include <stdint.h>

#ifdef __swift__
#define STAVE_NULLABLE _Nullable
#else
#define STAVE_NULLABLE
#endif

#define STAVE_TYPE_MAGIC 0x45505954u  // "TYPE"

struct stave_type {
  uint32_t magic;                         // STAVE_TYPE_MAGIC
  uint32_t version;                       // of this structure: 1
  const char *STAVE_NULLABLE name;        // short: 31 bytes are kept
  const char *STAVE_NULLABLE description; // for people who read the source
  void *STAVE_NULLABLE internals;         // the library's
  uint64_t limit;                         // bytes that may be in use; 0 for no limit. Read at registration
  uint64_t reserved[3];
};

#endif
