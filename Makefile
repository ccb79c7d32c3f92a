# SPDX-License-Identifier: BSD-2-Clause
#
# make            build/stave, build/libstave.so, build/libstave.a and build/libstavestat.so; TRAITS=NIO gives the command
#                 `stave metrics --listen`
# make run        a real program on Stave, with its zones live
# make test       all tests
# make bench      Stave against every peer that is installed (make bench-peers installs them)
# make bench-modes  what item checks, guard bytes and guards cost real programs
# make measured   FILE=Benchmarks/results/DATE.json: the section "Measured" of README.md, from that session; draws its pictures;
#                 TYPES=Benchmarks/results/DATE-types.json: the same for Documentation/Types.md;
#                 MODES=Benchmarks/results/DATE-modes.json: for Documentation/Caught.md
# make examples   the Swift packages of Examples that the tests run
# make listener   the command with an HTTP server, for its tests: .build/listener/debug/stave
# make soak       the tests at full length
# make corpus     faulty programs under Stave and its peers: the tables of Documentation/Caught.md
# make manuals    the manual (build/man) and completion for shells (build/completion)
# make readme     the table of options in README.md, from the library's list
# make probes     the header of the probes, from the one list of them
# make install    PREFIX=/usr/local DESTDIR=: command, library, manual, completion; make uninstall takes them away

SWIFT ?= swift
PREFIX ?= /usr/local
DESTDIR ?=
SPEED ?= release
PRELOAD = .build/preload
# Of the package, for the command: NIO.
TRAITS ?=

.PHONY: all library static command reader listener run examples test bench bench-modes bench-peers measured soak corpus check manuals readme probes install uninstall clean

all: library static command reader

library:
	@STAVE_PRELOAD=1 $(SWIFT) build -c $(SPEED) --no-omit-frame-pointers --traits Preload --scratch-path $(PRELOAD) --product stave-malloc
	@Scripts/install-library $(PRELOAD)/$(SPEED)/libstave-malloc.so build/libstave.so
	@ln -sf libstave.so build/libstave.so.0
	@mkdir -p build/include && cp -L Sources/StaveC/include/stave.h Sources/StaveC/include/stave_type.h build/include/

static: library
	@SWIFT=$(SWIFT) Scripts/make-archive $(PRELOAD)/$(SPEED)/stave-malloc.product/Objects.LinkFileList build/libstave.a

command:
	@$(SWIFT) build -c release $(if $(TRAITS),--traits $(TRAITS)) --product stave
	@mkdir -p build
	@cp .build/release/stave build/stave.new && mv build/stave.new build/stave

reader:
	@mkdir -p .build/static build/include && ln -sf "$$(clang -print-file-name=libstdc++.a)" .build/static/libstdc++.a
	@$(SWIFT) build -c release --product stavestat
	@Scripts/install-library .build/release/libstavestat.so build/libstavestat.so.0
	@ln -sf libstavestat.so.0 build/libstavestat.so
	@cp Sources/CStaveStat/include/stavestat.h build/include/

listener:
	@$(SWIFT) build --traits NIO --scratch-path .build/listener --product stave

run: all
	@Scripts/sizeable-source > build/sizeable.swift
	build/stave run --watch 0.5 --compare -- swiftc -O -c build/sizeable.swift -o build/sizeable.o 2>&1

# Everything with a fixed seed, then what is random once more with a fresh one, which it prints.
test: all manuals examples
	STAVE_SEED=1 $(SWIFT) test --skip anotherSeed
	$(SWIFT) test --skip-build --filter "$$(Scripts/random-suites)"
	$(SWIFT) test --skip-build --filter anotherSeed

# Before the tests, which run them: builds take both CPUs, and some tests look at the time.
examples:
	@# SwiftPM does not notice new files of a package beside the one that it builds, unless it plans anew.
	@rm -f .build/examples/*/debug.yaml .build/examples/*/release.yaml
	@$(SWIFT) build --disable-sandbox -c release --package-path Examples/types-swift --scratch-path .build/examples/types-swift
	@$(SWIFT) build --disable-sandbox --package-path Examples/metrics-swift --scratch-path .build/examples/metrics-swift
	@$(SWIFT) build --disable-sandbox -c release --package-path Examples/relay-swift --scratch-path .build/examples/relay-swift

soak: all manuals examples
	Scripts/soak

corpus: all
	Scripts/corpus

bench: all
	$(SWIFT) run -c release --package-path Benchmarks stave-bench

bench-modes: all
	$(SWIFT) run -c release --package-path Benchmarks stave-bench --only '^program/' --rounds 6 --allocators stave,stave+memguard:1000,stave+check:1,stave+redzone:1

bench-peers:
	Benchmarks/install-peers.sh

# The newest session that is not a quick one, if none is named.
FILE ?= $(lastword $(sort $(wildcard Benchmarks/results/????-??-??.json)))

# The newest session of malloc types alone.
TYPES ?= $(lastword $(sort $(wildcard Benchmarks/results/????-??-??-types.json)))

measured:
	@$(SWIFT) build -c release --package-path Benchmarks --product stave-bench
ifneq ($(FILE),)
	@Benchmarks/.build/release/stave-bench picture $(FILE)
	@Benchmarks/.build/release/stave-bench table --into README.md $(FILE)
endif
ifneq ($(TYPES),)
	@Benchmarks/.build/release/stave-bench picture $(TYPES)
	@Benchmarks/.build/release/stave-bench table --types --into Documentation/Types.md $(TYPES)
endif
ifneq ($(MODES),)
	@Benchmarks/.build/release/stave-bench table --modes --into Documentation/Caught.md $(MODES)
endif

check: all
	@# Targets of the core that the library does not use: they compile as Embedded Swift all the same.
	@STAVE_PRELOAD=1 $(SWIFT) build -c $(SPEED) --no-omit-frame-pointers --traits Preload --scratch-path $(PRELOAD) --target PacketBuffers
	@STAVE_PRELOAD=1 $(SWIFT) build -c $(SPEED) --no-omit-frame-pointers --traits Preload --scratch-path $(PRELOAD) --target Own
	Scripts/check-ladder
	Scripts/check-lessons
	Scripts/check-analysis
	Scripts/check-library build/libstave.so $(PRELOAD)/$(SPEED)/libstave-malloc.so
	Scripts/check-archive build/libstave.a

manuals: command
	@$(SWIFT) build -c release --product stave-manuals
	@.build/release/stave-manuals build/stave Documentation/man build/man
	@mkdir -p build/completion
	@for shell in bash zsh fish; do build/stave --generate-completion-script $$shell > build/completion/stave.$$shell || exit 1; done

probes:
	@$(SWIFT) build -c release --product stave-manuals
	@.build/release/stave-manuals --probes Sources/CPlatform/include/stave_probes.h

readme:
	@$(SWIFT) build -c release --product stave-manuals
	@.build/release/stave-manuals --readme README.md

BIN = $(DESTDIR)$(PREFIX)/bin
LIB = $(DESTDIR)$(PREFIX)/lib
INCLUDE = $(DESTDIR)$(PREFIX)/include
SHARE = $(DESTDIR)$(PREFIX)/share
BASH = $(SHARE)/bash-completion/completions/stave
ZSH = $(SHARE)/zsh/site-functions/_stave
FISH = $(SHARE)/fish/vendor_completions.d/stave.fish

install: all manuals
	install -d $(BIN) $(LIB) $(INCLUDE) $(SHARE)/man/man1 $(SHARE)/man/man3 $(SHARE)/man/man5 $(SHARE)/man/man7 $(dir $(BASH) $(ZSH) $(FISH))
	install -m 755 build/stave $(BIN)/stave
	install -m 755 build/libstave.so $(LIB)/libstave.so.0
	ln -sf libstave.so.0 $(LIB)/libstave.so
	install -m 644 build/libstave.a $(LIB)/libstave.a
	install -m 755 build/libstavestat.so.0 $(LIB)/libstavestat.so.0
	ln -sf libstavestat.so.0 $(LIB)/libstavestat.so
	install -m 644 build/include/* $(INCLUDE)
	install -m 644 build/man/man1/* $(SHARE)/man/man1
	install -m 644 build/man/man3/* $(SHARE)/man/man3
	install -m 644 build/man/man5/* $(SHARE)/man/man5
	install -m 644 build/man/man7/* $(SHARE)/man/man7
	install -m 644 build/completion/stave.bash $(BASH)
	install -m 644 build/completion/stave.zsh $(ZSH)
	install -m 644 build/completion/stave.fish $(FISH)

uninstall:
	rm -f $(BIN)/stave $(INCLUDE)/stave.h $(INCLUDE)/stave_type.h $(LIB)/libstave.a $(LIB)/libstave.so $(LIB)/libstave.so.0 $(SHARE)/man/man1/stave.1 $(SHARE)/man/man1/stave-*.1
	rm -f $(INCLUDE)/stavestat.h $(LIB)/libstavestat.so $(LIB)/libstavestat.so.0 $(SHARE)/man/man3/stavestat.3 $(SHARE)/man/man3/stave.3 $(SHARE)/man/man3/stave_*.3
	rm -f $(SHARE)/man/man5/stave_options.5 $(SHARE)/man/man5/stave_probes.5 $(SHARE)/man/man7/stave.7 $(BASH) $(ZSH) $(FISH)

clean:
	rm -rf build .build Benchmarks/.build
