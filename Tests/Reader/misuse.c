// SPDX-License-Identifier: BSD-2-Clause
//
// libstavestat.so with arguments that make no sense, and with bytes that are no stream: `misuse STREAM INPUTS SEED`. Every call has to
// come back. STREAM is a good one of types; of each good one among INPUTS changed copies all figures are asked for.

#include <stavestat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
      exit(1); \
    } \
  } while (0)

static uint64_t state;
static uint64_t chance(void) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

static void ask_all(stavestat_list *list) {
  uint64_t sum = 0;
  for (stavestat_entry *e = stavestat_first(list); e != NULL; e = stavestat_next(e)) {
    for (int what = -1; what < 30; what++) {
      sum += stavestat_value(e, what);
      for (unsigned cpu = 0; cpu < 3; cpu++) sum += stavestat_cpu_value(e, cpu, what);
      sum += stavestat_cpu_value(e, (unsigned)-1, what);
    }
    MUST(stavestat_value(e, STAVESTAT_FREES) <= stavestat_value(e, STAVESTAT_ALLOCATIONS));
    MUST(strlen(stavestat_label(e)) >= strlen(stavestat_name(e)));
    MUST(stavestat_find(list, stavestat_allocator(e), stavestat_name(e), stavestat_instance(e)) == e);
  }
  (void)sum;
}

static void nonsense(void) {
  MUST(stavestat_first(NULL) == NULL && stavestat_next(NULL) == NULL && stavestat_find(NULL, 1, "a", 0) == NULL);
  MUST(stavestat_fill_process(NULL, 1, 255) == -1 && stavestat_fill_core(NULL, "x", 255) == -1);
  MUST(stavestat_fill_stream(NULL, "x") == -1 && stavestat_fill_bytes(NULL, "x", 1) == -1);
  MUST(stavestat_error(NULL) == 0 && stavestat_message(NULL) == NULL && stavestat_name(NULL) == NULL && stavestat_label(NULL) == NULL);
  MUST(stavestat_allocator(NULL) == 0 && stavestat_instance(NULL) == 0 && stavestat_shares_name(NULL) == 0 && stavestat_cpus(NULL) == 0);
  MUST(stavestat_value(NULL, 1) == 0 && stavestat_cpu_value(NULL, 0, 1) == 0 && stavestat_pointer(NULL, 0) == NULL && stavestat_number(NULL, 0) == 0);
  MUST(stavestat_set_pointer(NULL, 0, NULL) == -1 && stavestat_set_number(NULL, 0, 1) == -1);
  MUST(stavestat_cpu_pointer(NULL, 0, 0) == NULL && stavestat_cpu_number(NULL, 0, 0) == 0);
  MUST(stavestat_set_cpu_pointer(NULL, 0, 0, NULL) == -1 && stavestat_set_cpu_number(NULL, 0, 0, 1) == -1);
  stavestat_list_free(NULL);
  for (int error = -3; error < 300; error++) MUST(strlen(stavestat_strerror(error)) > 3);
  MUST(stavestat_class_size(0) == 16 && stavestat_class_size(11) == 32768 && stavestat_class_size(63) == 0 && stavestat_class_size(-1) == 0);

  stavestat_list *list = stavestat_list_new();
  MUST(stavestat_first(list) == NULL && stavestat_error(list) == 0 && strlen(stavestat_message(list)) == 0);
  int processes[] = {0, -1, 1 << 30, 2147483647, (int)0x80000000u};
  for (int i = 0; i < 5; i++) {
    MUST(stavestat_fill_process(list, processes[i], STAVESTAT_ANY) == -1);
    MUST(stavestat_error(list) == STAVESTAT_ERROR_PROCESS && strlen(stavestat_message(list)) > 10);
  }
  MUST(stavestat_fill_process(list, 1, 77) == -1 && stavestat_error(list) != 0);
  MUST(stavestat_fill_core(list, NULL, 255) == -1 && stavestat_fill_core(list, "", 255) == -1 && stavestat_fill_core(list, "/", 255) == -1);
  MUST(stavestat_fill_core(list, "\xff\xfe", 255) == -1 && stavestat_error(list) == STAVESTAT_ERROR_PROCESS);
  MUST(stavestat_fill_stream(list, NULL) == -1 && stavestat_fill_stream(list, "") == -1 && stavestat_fill_stream(list, "/") == -1);
  MUST(stavestat_fill_bytes(list, NULL, 100) == -1 && stavestat_fill_bytes(list, "", 0) == -1 && stavestat_error(list) == STAVESTAT_ERROR_DATA);
  stavestat_list_free(list);
}

static void slots(const unsigned char *good, size_t count) {
  stavestat_list *list = stavestat_list_new();
  MUST(stavestat_fill_bytes(list, good, count) == 0);
  stavestat_entry *first = stavestat_first(list), *second = stavestat_next(first);
  MUST(first != NULL && second != NULL && stavestat_cpus(first) > 1);
  unsigned last = stavestat_cpus(first) - 1;
  MUST(stavestat_set_number(first, 15, 42) == 0 && stavestat_set_number(first, 16, 1) == -1 && stavestat_set_pointer(second, 0, list) == 0);
  MUST(stavestat_set_pointer(second, 99, list) == -1 && stavestat_pointer(second, 99) == NULL && stavestat_number(second, 99) == 0);
  MUST(stavestat_set_cpu_number(first, last, 3, 7) == 0 && stavestat_set_cpu_number(first, last + 1, 3, 7) == -1);
  MUST(stavestat_set_cpu_pointer(first, last, 0, first) == 0 && stavestat_set_cpu_pointer(first, last, 16, first) == -1);
  MUST(stavestat_cpu_number(first, last, 16) == 0 && stavestat_cpu_number(first, 9999, 3) == 0 && stavestat_cpu_pointer(first, 0, 0) == NULL);
  const char *name = stavestat_name(first);
  for (int i = 0; i < 3; i++) {
    MUST(stavestat_fill_bytes(list, good, count) == 0 && stavestat_first(list) == first && stavestat_next(first) == second);
    MUST(stavestat_number(first, 15) == 42 && stavestat_pointer(second, 0) == list && stavestat_name(first) == name);
    MUST(stavestat_cpu_number(first, last, 3) == 7 && stavestat_cpu_pointer(first, last, 0) == first && stavestat_number(second, 15) == 0);
  }
  // Another version empties the list, and says so.
  unsigned char *other = malloc(count);
  memcpy(other, good, count);
  other[0] = 9;
  MUST(stavestat_fill_bytes(list, other, count) == -1 && stavestat_error(list) == STAVESTAT_ERROR_VERSION && stavestat_first(list) == NULL);
  MUST(strstr(stavestat_message(list), "version 9") != NULL);
  MUST(stavestat_fill_bytes(list, good, count) == 0 && stavestat_error(list) == 0 && stavestat_number(stavestat_first(list), 15) == 0);
  free(other);
  stavestat_list_free(list);
}

// A stream of types of these names, one letter each, on one CPU: 16 bytes, and 32 and 64 for each.
static int fill_named(stavestat_list *list, const char *names) {
  static unsigned char bytes[4096];
  memset(bytes, 0, sizeof bytes);
  bytes[0] = bytes[4] = 1;
  bytes[8] = (unsigned char)strlen(names);
  for (size_t i = 0; i < strlen(names); i++) bytes[16 + i * 96] = (unsigned char)names[i];
  return stavestat_fill_bytes(list, bytes, 16 + 96 * strlen(names));
}

static void order(void) {
  stavestat_list *list = stavestat_list_new();
  MUST(fill_named(list, "abc") == 0);
  stavestat_entry *a = stavestat_first(list), *c = stavestat_next(stavestat_next(a));
  MUST(strcmp(stavestat_name(a), "a") == 0 && strcmp(stavestat_name(c), "c") == 0 && stavestat_next(c) == NULL);
  // In another order, without one and with another, and with a twin.
  MUST(fill_named(list, "cdaa") == 0 && stavestat_first(list) == c && stavestat_next(stavestat_next(c)) == a);
  stavestat_entry *twin = stavestat_next(a);
  MUST(twin != NULL && stavestat_next(twin) == NULL && stavestat_shares_name(twin) == 1 && stavestat_shares_name(c) == 0);
  MUST(stavestat_instance(twin) == 1 && strcmp(stavestat_label(twin), "a_1") == 0 && strcmp(stavestat_name(twin), "a") == 0);
  MUST(stavestat_find(list, STAVESTAT_ANY, "a", 1) == twin && stavestat_find(list, STAVESTAT_ZONE, "a", 0) == NULL);
  MUST(stavestat_find(list, STAVESTAT_MALLOC, "b", 0) == NULL && stavestat_find(list, STAVESTAT_MALLOC, "a", 2) == NULL);
  stavestat_list_free(list);
}

int main(int words, char *arguments[]) {
  if (words != 4) return 2;
  static unsigned char good[1 << 16];
  FILE *file = fopen(arguments[1], "rb");
  if (file == NULL) return 2;
  size_t count = fread(good, 1, sizeof good, file);
  fclose(file);
  nonsense();
  slots(good, count);
  order();
  state = strtoull(arguments[3], NULL, 10) | 1;
  long inputs = atol(arguments[2]), read = 0;
  stavestat_list *list = stavestat_list_new();
  unsigned char *bytes = malloc(sizeof good);
  for (long i = 0; i < inputs; i++) {
    size_t length = count;
    memcpy(bytes, good, count);
    for (unsigned changes = chance() % 5; changes > 0; changes--) {
      size_t place = chance() % 2 ? chance() % 16 : chance() % count;
      static const unsigned char values[] = {0, 1, 2, 127, 255};
      bytes[place] = chance() % 2 ? values[chance() % 5] : (unsigned char)chance();
    }
    if (chance() % 4 == 0) length = chance() % (count + 1);
    if (stavestat_fill_bytes(list, bytes, length) == 0) {
      read++;
      MUST(stavestat_error(list) == 0);
      ask_all(list);
    } else {
      MUST(stavestat_first(list) == NULL && stavestat_error(list) != 0);
    }
  }
  free(bytes);
  stavestat_list_free(list);
  MUST(inputs == 0 || read > inputs / 20);
  puts("came back");
  return 0;
}
