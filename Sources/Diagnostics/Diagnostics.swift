// SPDX-License-Identifier: BSD-2-Clause
//
// # Diagnostics
//
// Two questions about the stack. The second is answered by Stacks, StackStore, StackWalk and Report+Stack: which calls led here?
// Those files say how. The first by all others:
//
// Who asked for this memory: which module (shared object or executable), and which call in it? The caller that a return
// address names is often only a forwarder: strdup in libc, a string of libstdc++'s, swift_allocObject. So the answer is found
// by walking up the stack until a module is reached that does not merely forward. What a type is, and what is counted for it,
// is decided above this target.
//
// Words
//   frame       return address, the stack pointer that the code there has, its rbp
//   module      what the loader maps from one file
//   rule        how to step from a frame to the one that called it, at one address of code
//   CFA         where the stack pointer stood before the call; the return address lies below it ("canonical frame address")
//   forwarder   a module that asks for memory on behalf of its callers
//
// Order of satisfaction, for each step
//   1. the cache of rules, by address of code: one word has address, rule, and whether the module forwards (RuleCache)
//   2. glibc's _dl_find_object: the module and its table of functions (Module)
//   3. the function's call frame information, executed up to the address, and reduced to a rule (CallFrames, FrameProgram)
//   4. the module's name against the list of forwarders (ForwardingList)
//
//     malloc ← strdup ← parse ← main         frame 0 is what malloc was called with (stave_capture.h)
//              libc     program              strdup's rule: CFA = sp + 24, rbp unchanged; libc forwards: once more
//                                            parse: the program does not forward: here
//
// All this runs inside malloc, in signal handlers, and while another thread is in dlopen. So nothing here allocates, calls
// libc beyond _dl_find_object (which takes no lock and is safe in signal handlers), or waits; there is no lock, thus no order
// of locks. Threads share two tables of words that each say everything about themselves: a word is right or does not match.
//
// What is read
//   Stack words lie between the frame's stack pointer and a limit that the caller gives, and each step must go up. Up to the
//   thread's beginning of stack, which `stackLimit` respects, that is mapped memory. On a stack of another kind (a signal
//   handler's, a coroutine's) the limit is only a distance; a walk leaves such a stack only if call frame information lies.
//   Call frame information is read within the module's segment that holds it. Any bytes there give a rule or none.
//
// Rules exist for CFA = sp + k and CFA = rbp + k, which is nearly all there is: 23,744 of libc's 23,759 rows, all but the
// linker's stubs in libstdc++, Python and Swift's libraries, 98 % of numpy, whose vector code realigns its stack by r10. Where there
// is no rule, as in the linker's stubs, in the first function of a thread and where a signal came in, the walk ends, and if it
// has met only forwarders, its answer is the first of them.
//
// Unloading: rules of a module that dlclose has unmapped stay in the cache until `flush`. If another module is mapped there
// before, a stale rule may end a walk early or name a wrong caller; it cannot make it read elsewhere.
//
// x86-64 with glibc 2.35 or later. Otherwise `Module.isAvailable` is false and every frame's caller is the frame itself.

import CPlatform

/// What has been learnt so far, shared by all threads: 34 KiB, zero until used.
@inline(__always)
public var callers: Callers { stave_callers() }

public typealias Callers = UnsafeMutablePointer<stave_callers>
