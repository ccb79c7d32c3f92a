// SPDX-License-Identifier: BSD-2-Clause
//
// Walks over the notes of all that is loaded. Notes with the name "Stave" and type 1 hold the distance from their field to a root.

#define _GNU_SOURCE
#include "CPlatform.h"
#include <link.h>
#include <string.h>

extern int iterate(int (*)(struct dl_phdr_info *, size_t, void *), void *) __asm__("dl_iterate_phdr") __attribute__((weak));

struct search {
  bool (*body)(const void *, const char *, void *);
  void *context;
};

static bool in_notes(const char *at, const char *end, struct dl_phdr_info *info, const struct search *search) {
  while (end - at >= (ptrdiff_t)sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) note;
    memcpy(&note, at, sizeof note);
    const char *name = at + sizeof note;
    uint64_t left = (uint64_t)(end - name), description = ((uint64_t)note.n_namesz + 3) & ~3ull, bytes = ((uint64_t)note.n_descsz + 3) & ~3ull;
    if (description > left || bytes > left - description) return false;
    const char *field = name + description;
    if (note.n_type == 1 && note.n_namesz == 6 && memcmp(name, "Stave", 6) == 0 && note.n_descsz == 8) {
      int64_t distance;
      memcpy(&distance, field, sizeof distance);
      const unsigned char *root = (const unsigned char *)((uintptr_t)field + (uintptr_t)distance);
      if (root != stave_root_storage() && search->body(root, info->dlpi_name ? info->dlpi_name : "", search->context)) return true;
    }
    at = field + bytes;
  }
  return false;
}

static int in_module(struct dl_phdr_info *info, size_t size, void *argument) {
  (void)size;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[i];
    // Those with an alignment of 8 are others'.
    if (part->p_type != PT_NOTE || part->p_align > 4) continue;
    const char *start = (const char *)(info->dlpi_addr + part->p_vaddr);
    if (in_notes(start, start + part->p_memsz, info, argument)) return 1;
  }
  return 0;
}

bool stave_find_other_root(bool (*body)(const void *, const char *, void *), void *context) {
  struct search search = {body, context};
  return &iterate != NULL && iterate(in_module, &search) != 0;
}
