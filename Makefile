# SPDX-License-Identifier: BSD-2-Clause
#
# make            build/stave, build/libstave.so, build/libstavezones.so, an archive of either, and build/libstavestat.so; TRAITS=NIO
#                 gives the command
#                 `stave metrics --listen`
# make run        a real program on Stave, with its zones live
# make test       all tests
# make bench      Stave against every peer that is installed (make bench-peers installs them with the system's package manager, as root)
# make bench-modes  what item checks, guard bytes and guards cost real programs
# make bench-zones  zones, pools, deferred reuse, packets and the relay against what others have, in a quarter of an hour;
#                 QUICK=--quick: in five minutes
# make measured   FILE=Benchmarks/results/DATE.json: the section "Measured" of README.md, from that session; draws its pictures;
#                 TYPES=Benchmarks/results/DATE-types.json: the same for Documentation/Types.md;
#                 MODES=Benchmarks/results/DATE-modes.json: for Documentation/Caught.md; ZONES=…-zones.json: for Documentation/Zones.md
# make examples   the Swift packages of Examples that the tests run
# make listener   the command with an HTTP server, for its tests: .build/listener/debug/stave
# make soak       the tests at full length
# make tsan       tests of the core and of the Swift API under thread sanitizer: not part of make test
# make corpus     faulty programs under Stave and its peers: the tables of Documentation/Caught.md
# make manuals    the manual (build/man) and completion for shells (build/completion)
# make readme     the table of options in README.md, from the library's list
# make docs       the Swift API's pages, as a web site in build/docs
# make probes     the headers of the probes, from the one list of them
# make install    PREFIX=/usr/local DESTDIR=: command, library, manual, completion; make uninstall takes them away

SWIFT ?= swift
PREFIX ?= /usr/local
DESTDIR ?=
SPEED ?= release
PRELOAD = .build/preload
HEADERS = stave.h stave_type.h stave_zone.h stave_pool.h stave_mbuf.h
# Of the package, for the command: NIO.
TRAITS ?=

.PHONY: all library zones static command reader listener run examples test bench bench-modes bench-zones bench-peers measured soak tsan corpus check manuals docs readme probes install uninstall clean

all: library zones static command reader

library:
	@STAVE_PRELOAD=1 $(SWIFT) build -c $(SPEED) --no-omit-frame-pointers --traits Preload --scratch-path $(PRELOAD) --product stave-malloc
	@Scripts/install-library $(PRELOAD)/$(SPEED)/libstave-malloc.so build/libstave.so
	@ln -sf libstave.so build/libstave.so.0
	@mkdir -p build/include && cp -L $(HEADERS:%=Sources/StaveC/include/%) build/include/

# After the library, since both are built in one folder.
zones: library
	@STAVE_PRELOAD=1 $(SWIFT) build -c $(SPEED) --no-omit-frame-pointers --traits Preload --scratch-path $(PRELOAD) --product stave-zones
	@Scripts/install-library $(PRELOAD)/$(SPEED)/libstave-zones.so build/libstavezones.so
	@ln -sf libstavezones.so build/libstavezones.so.0

static: library zones
	@SWIFT=$(SWIFT) Scripts/make-archive libstave $(PRELOAD)/$(SPEED)/stave-malloc.product/Objects.LinkFileList build/libstave.a
	@SWIFT=$(SWIFT) Scripts/make-archive libstavezones $(PRELOAD)/$(SPEED)/stave-zones.product/Objects.LinkFileList build/libstavezones.a

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
	$(SWIFT) test --skip-build --filter "$$(Scripts/random-suites)|anotherSeed"

# Before the tests, which run them: builds take both CPUs, and some tests look at the time.
examples:
	@# SwiftPM does not notice new files of a package beside the one that it builds, unless it plans anew.
	@rm -f .build/examples/*/debug.yaml .build/examples/*/release.yaml
	@$(SWIFT) build --disable-sandbox -c release --package-path Examples/types-swift --scratch-path .build/examples/types-swift
	@$(SWIFT) build --disable-sandbox -c release --package-path Examples/zones-swift --scratch-path .build/examples/types-swift
	@$(SWIFT) build --disable-sandbox --package-path Examples/metrics-swift --scratch-path .build/examples/metrics-swift
	@$(SWIFT) build --disable-sandbox -c release --package-path Examples/relay-swift --scratch-path .build/examples/relay-swift

soak: all manuals examples
	Scripts/soak

tsan:
	Scripts/thread-sanitizer

corpus: all
	Scripts/corpus

bench: all
	$(SWIFT) run -c release --package-path Benchmarks stave-bench

bench-modes: all
	$(SWIFT) run -c release --package-path Benchmarks stave-bench --only '^program/' --rounds 6 --allocators stave,stave+memguard:1000,stave+check:1,stave+redzone:1

bench-zones: library zones command
	@$(SWIFT) build --disable-sandbox -c release --package-path Examples/zones-swift --scratch-path .build/examples/types-swift --product zone-speed
	@$(SWIFT) build --disable-sandbox -c release --package-path Examples/relay-swift --scratch-path .build/examples/relay-swift
	$(SWIFT) run -c release --package-path Benchmarks stave-bench zones $(QUICK)

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
ifneq ($(ZONES),)
	@Benchmarks/.build/release/stave-bench picture $(ZONES)
	@Benchmarks/.build/release/stave-bench table --zones --into Documentation/Zones.md $(ZONES)
endif
ifneq ($(MODES),)
	@Benchmarks/.build/release/stave-bench table --modes --into Documentation/Caught.md $(MODES)
endif

check: all
	Scripts/check-ladder
	Scripts/check-lessons
	Scripts/check-analysis
	Scripts/check-library libstave build/libstave.so $(PRELOAD)/$(SPEED)/libstave-malloc.so
	Scripts/check-library libstavezones build/libstavezones.so $(PRELOAD)/$(SPEED)/libstave-zones.so
	Scripts/check-archive libstave build/libstave.a
	Scripts/check-archive libstavezones build/libstavezones.a

manuals: command
	@$(SWIFT) build -c release --product stave-manuals
	@.build/release/stave-manuals build/stave Documentation/man build/man
	@mkdir -p build/completion
	@for shell in bash zsh fish; do build/stave --generate-completion-script $$shell > build/completion/stave.$$shell || exit 1; done

docs:
	@$(SWIFT) build --target Stave
	@mkdir -p build && Scripts/make-docs "$$($(SWIFT) build --show-bin-path)" build/docs
	@echo 'to read them: python3 -m http.server -d build/docs 8000, then http://localhost:8000/'

probes:
	@$(SWIFT) build -c release --product stave-manuals
	@.build/release/stave-manuals --probes .

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
	install -m 755 build/libstavezones.so $(LIB)/libstavezones.so.0
	ln -sf libstavezones.so.0 $(LIB)/libstavezones.so
	install -m 644 build/libstavezones.a $(LIB)/libstavezones.a
	install -m 755 build/libstavestat.so.0 $(LIB)/libstavestat.so.0
	ln -sf libstavestat.so.0 $(LIB)/libstavestat.so
	install -m 644 build/include/* $(INCLUDE)
	for section in 1 3 5 7; do install -m 644 $$(find build/man/man$$section -type f) $(SHARE)/man/man$$section || exit 1; done
	for section in 1 3; do cp -Pf $$(find build/man/man$$section -type l) $(SHARE)/man/man$$section || exit 1; done
	install -m 644 build/completion/stave.bash $(BASH)
	install -m 644 build/completion/stave.zsh $(ZSH)
	install -m 644 build/completion/stave.fish $(FISH)

uninstall:
	rm -f $(BIN)/stave $(HEADERS:%=$(INCLUDE)/%) $(LIB)/libstave.a $(LIB)/libstave.so $(LIB)/libstave.so.0 $(SHARE)/man/man1/stave.1 $(SHARE)/man/man1/stave-*.1 $(SHARE)/man/man1/stave_guard.1
	rm -f $(LIB)/libstavezones.a $(LIB)/libstavezones.so $(LIB)/libstavezones.so.0
	rm -f $(INCLUDE)/stavestat.h $(LIB)/libstavestat.so $(LIB)/libstavestat.so.0 $(SHARE)/man/man3/stave.3 $(SHARE)/man/man3/stave_*.3 $(SHARE)/man/man3/STAVE_*.3 $(SHARE)/man/man3/stavestat*.3
	rm -f $(SHARE)/man/man5/stave_options.5 $(SHARE)/man/man5/stave_probes.5 $(SHARE)/man/man7/stave.7 $(SHARE)/man/man7/stave_migration.7 $(BASH) $(ZSH) $(FISH)

clean:
	rm -rf build .build Benchmarks/.build
