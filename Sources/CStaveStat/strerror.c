// SPDX-License-Identifier: BSD-2-Clause
//
// The kinds of errors in a few words.

#include "stavestat.h"

const char *stavestat_strerror(int error) {
  switch (error) {
  case STAVESTAT_ERROR_NONE: return "no error";
  case STAVESTAT_ERROR_VERSION: return "unknown version";
  case STAVESTAT_ERROR_PERMISSION: return "permission denied";
  case STAVESTAT_ERROR_DATA: return "damaged data";
  case STAVESTAT_ERROR_PROCESS: return "no such process or file";
  case STAVESTAT_ERROR_NO_STAVE: return "no Stave in it";
  case STAVESTAT_ERROR_SHORT: return "memory cannot be read";
  case STAVESTAT_ERROR_OTHER: return "other error";
  default: return "unknown error";
  }
}
