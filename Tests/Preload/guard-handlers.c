// SPDX-License-Identifier: BSD-2-Clause
//
// Under MemGuard: the program's own SIGSEGV and SIGBUS handlers, of every kind, installed before guards and after, must get every fault that
// is not a guard's, while guards go on working. The runner (PreloadTests/GuardTests) knows what each role must end in.

#include "guards.h"

static int itsSignal = SIGSEGV;
static sigjmp_buf back;
static char *forbidden;
static volatile int handled, oldCalled;
static void *volatile handledAt, *volatile handlerFrame;
static struct sigaction previous;

static void jumping(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)context;
  handled++;
  handledAt = info->si_addr;
  handlerFrame = __builtin_frame_address(0);
  siglongjmp(back, 1);
}
static void plain(int signal) {
  CHECK(signal == itsSignal, "signal %d", signal);
  handled++;
  siglongjmp(back, 1);
}
/// As a virtual machine does it: repairs, and goes on.
static void repairing(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)context;
  handled++;
  handledAt = info->si_addr;
  mprotect(forbidden, 4096, PROT_READ | PROT_WRITE);
}
/// As a Go runtime does it: goes on elsewhere.
static void away(void) { siglongjmp(back, 1); }
static void redirecting(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  handled++;
#if defined(__x86_64__)
  ucontext_t *at = context;
  at->uc_mcontext.gregs[REG_RSP] = (at->uc_mcontext.gregs[REG_RSP] - 512) / 16 * 16 - 8;
  at->uc_mcontext.gregs[REG_RIP] = (greg_t)away;
#else
  (void)context;
  siglongjmp(back, 1);
#endif
}
/// Passes on what it does not know to the handler that it found.
static void chaining(int signal, siginfo_t *info, void *context) {
  handled++;
  if (previous.sa_flags & SA_SIGINFO) {
    oldCalled++;
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    oldCalled++;
    previous.sa_handler(signal);
  }
}

static void install(void *handler, int flags) {
  struct sigaction action = {.sa_flags = flags};
  action.sa_sigaction = (void (*)(int, siginfo_t *, void *))handler;
  CHECK(!sigaction(itsSignal, &action, &previous), "sigaction: %s", strerror(errno));
}

static char *pageOfOurs(void) {
  // Of an empty file; or of nothing.
  if (itsSignal == SIGBUS) forbidden = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memfd_create("empty", 0), 0);
  else forbidden = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(forbidden != MAP_FAILED, "mmap: %s", strerror(errno));
  return forbidden;
}

/// A fault that is the program's own: its handler has it, once, with its address.
static void ownFault(const char *what) {
  handled = 0;
  handledAt = NULL;
  if (sigsetjmp(back, 1) == 0) poke(pageOfOurs() + 77);
  CHECK(handled == 1, "%s: the handler had %d signals", what, handled);
  CHECK(handledAt == NULL || handledAt == forbidden + 77, "%s: at %p", what, handledAt);
}

/// And then one that is a guard's.
static void guardsFault(void) {
  int before = handled;
  char *it = block(100);
  free(it);
  if (sigsetjmp(back, 1) == 0) poke(hide(it));
  fail(__FILE__, __LINE__, "a report", "the program's handler had the guard's fault (%d signals)", handled - before);
}

static void kindOf(void *handler, int flags, int isBefore) {
  if (!isBefore) free(block(10));
  install(handler, flags);
  free(block(10));
  for (int i = 0; i < 3; i++) ownFault("own");
  guardsFault();
}
static void informed(void) { kindOf(jumping, SA_SIGINFO, 1); }
static void informedAfter(void) { kindOf(jumping, SA_SIGINFO | SA_NODEFER, 0); }
static void plainBefore(void) { kindOf(plain, 0, 1); }
static void plainAfter(void) { kindOf(plain, SA_RESTART, 0); }
static void repaired(void) { kindOf(repairing, SA_SIGINFO, 0); }
static void busBefore(void) {
  itsSignal = SIGBUS;
  kindOf(jumping, SA_SIGINFO, 1);
}
static void busAfter(void) {
  itsSignal = SIGBUS;
  kindOf(jumping, SA_SIGINFO | SA_NODEFER, 0);
}
static void busPlain(void) {
  itsSignal = SIGBUS;
  kindOf(plain, 0, 0);
}
static void busBoth(void) {
  install(plain, 0);
  itsSignal = SIGBUS;
  kindOf(plain, 0, 0);
}
static void redirected(void) { kindOf(redirecting, SA_SIGINFO, 0); }

/// Handlers that pass on to what they found, in layers, with guards between them.
static void layers(void) {
  install(jumping, SA_SIGINFO);
  free(block(10));
  ownFault("first layer");
  install(chaining, SA_SIGINFO);
  CHECK(previous.sa_flags & SA_SIGINFO, "what was there is not known to take three words");
  free(block(10));
  handled = oldCalled = 0;
  if (sigsetjmp(back, 1) == 0) poke(pageOfOurs());
  CHECK(handled == 2 && oldCalled == 1, "%d signals, %d passed on", handled, oldCalled);
  guardsFault();
}

/// Set, set back, and set again, more often than there are layers.
static void backAndForth(void) {
  free(block(10));
  for (int i = 0; i < 50; i++) {
    struct sigaction first = {.sa_flags = SA_SIGINFO, .sa_sigaction = jumping}, old;
    CHECK(!sigaction(SIGSEGV, &first, &old), "sigaction: %s", strerror(errno));
    free(block(10));
    ownFault("set again");
    CHECK(!sigaction(SIGSEGV, &old, NULL), "sigaction: %s", strerror(errno));
    free(block(10));
  }
  guardsFault();
}

/// The kernel has run it on the stack that the program asked for, and on no other.
static void onStack(void) {
  static char room[65536];
  stack_t other = {.ss_sp = room, .ss_size = sizeof room};
  CHECK(!sigaltstack(&other, NULL), "sigaltstack: %s", strerror(errno));
  for (int i = 0; i < 4; i++) {
    int isOn = i & 1;
    install(jumping, SA_SIGINFO | (isOn ? SA_ONSTACK : 0));
    free(block(10));
    ownFault("stacks");
    char *at = handlerFrame;
    CHECK((at >= room && at < room + sizeof room) == isOn, "flag %d, and the frame is at %p", isOn, (void *)at);
  }
  guardsFault();
}

static void once(void) {
  install(jumping, SA_SIGINFO | (int)SA_RESETHAND);
  free(block(10));
  ownFault("once");
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    poke(pageOfOurs());
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "the second one: %x", status);
  install(jumping, SA_SIGINFO | (int)SA_RESETHAND);
  free(block(10));
  ownFault("once more");
  install(jumping, SA_SIGINFO);
  guardsFault();
}

/// Sent by kill: nobody's fault.
static void sent(void) {
  install(jumping, SA_SIGINFO);
  free(block(10));
  handled = 0;
  if (sigsetjmp(back, 1) == 0) kill(getpid(), SIGSEGV);
  CHECK(handled == 1, "%d signals", handled);
  signal(SIGSEGV, SIG_IGN);
  free(block(10));
  kill(getpid(), SIGSEGV);
  CHECK(handled == 1, "ignored, and %d signals", handled);
  guardsFault();
}

static void ownDefault(void) {
  free(block(10));
  poke(pageOfOurs());
}
static void busDefault(void) {
  itsSignal = SIGBUS;
  ownDefault();
}
/// The machine has lost a page of a block, as the kernel says it: no fault of a guard's.
static void busLost(void) {
  itsSignal = SIGBUS;
  free(block(100));
  char *it = block(200);
  free(it);
  install(jumping, SA_SIGINFO);
  free(block(10));
  siginfo_t lost = {.si_signo = SIGBUS, .si_code = BUS_MCEERR_AO};
  lost.si_addr = (void *)hide(it);
  handled = 0;
  if (sigsetjmp(back, 1) == 0) CHECK(!syscall(SYS_rt_sigqueueinfo, getpid(), SIGBUS, &lost), "rt_sigqueueinfo: %s", strerror(errno));
  CHECK(handled == 1 && handledAt == it, "%d signals, at %p", handled, handledAt);
  guardsFault();
}
static void ownSentDefault(void) {
  free(block(10));
  kill(getpid(), SIGSEGV);
  for (;;) pause();
}
static void ownIgnored(void) {
  signal(SIGSEGV, SIG_IGN);
  free(block(10));
  poke(pageOfOurs());
}

static const struct guardRole roles[] = {
    {"handler", informed}, {"handler-after", informedAfter}, {"handler-plain", plainBefore}, {"handler-plain-after", plainAfter},
    {"handler-repairs", repaired}, {"handler-redirects", redirected}, {"handler-layers", layers}, {"handler-back-and-forth", backAndForth},
    {"handler-stack", onStack}, {"handler-once", once}, {"handler-sent", sent}, {"own-default", ownDefault}, {"own-sent", ownSentDefault},
    {"own-ignored", ownIgnored}, {"bus-handler", busBefore}, {"bus-handler-after", busAfter}, {"bus-handler-plain", busPlain},
    {"bus-and-segv", busBoth}, {"bus-lost", busLost}, {"bus-default", busDefault}, {0, 0},
};

int main(int count, char **arguments) { return playRole(count, arguments, roles); }
