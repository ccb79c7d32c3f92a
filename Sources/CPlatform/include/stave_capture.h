// SPDX-License-Identifier: BSD-2-Clause
//
// Where was this function called from? A function that is nothing but
//
//   STAVE_CAPTURING void *shim(size_t size) { stave_capture_1(target, size) }
//
// jumps to `target(size, pc, sp, bp)`: the address it returns to, the stack pointer that its caller has then, and its caller's
// rbp. Three moves and a jump; no frame, no memory. The shim may itself be reached by a jump, as a slow path is: then its
// caller is whoever called the function that jumped. Up to three arguments, none of them floating. `target` is a
// function of the same library; as the compiler does not see it named, it must be kept by something else (Swift: public).
// On other processors than x86-64 all three are 0, which stands for "unknown".

#ifndef STAVE_CAPTURE_H
#define STAVE_CAPTURE_H

#if defined(__x86_64__)
#define STAVE_CAPTURING __attribute__((naked))
#define STAVE_CAPTURE(target, pc, sp, bp) \
  __asm__("movq (%rsp), %" pc "\n\tleaq 8(%rsp), %" sp "\n\tmovq %rbp, %" bp "\n\tjmp " #target);
#define stave_capture_1(target, a) STAVE_CAPTURE(target, "rsi", "rdx", "rcx")
#define stave_capture_2(target, a, b) STAVE_CAPTURE(target, "rdx", "rcx", "r8")
#define stave_capture_3(target, a, b, c) STAVE_CAPTURE(target, "rcx", "r8", "r9")
#else
#define STAVE_CAPTURING
#define stave_capture_1(target, a) return target(a, 0, 0, 0);
#define stave_capture_2(target, a, b) return target(a, b, 0, 0, 0);
#define stave_capture_3(target, a, b, c) return target(a, b, c, 0, 0, 0);
#endif

#endif
