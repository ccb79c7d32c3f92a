# SPDX-License-Identifier: BSD-2-Clause
#
# make            build/stave and build/libstave.so
# make run        a real program on Stave, with its zones live
# make test       all tests
# make bench      Stave against every peer that is installed (make bench-peers installs them)
# make soak       the tests at full length
# make install    PREFIX=/usr/local DESTDIR=

SWIFT ?= swift
PREFIX ?= /usr/local
DESTDIR ?=
SPEED ?= release
PRELOAD = .build/preload

.PHONY: all library command run test bench bench-peers soak check install clean

all: library command

library:
	@STAVE_PRELOAD=1 $(SWIFT) build -c $(SPEED) --omit-frame-pointers --traits Preload --scratch-path $(PRELOAD) --product stave-malloc
	@Scripts/install-library $(PRELOAD)/$(SPEED)/libstave-malloc.so build/libstave.so

command:
	@$(SWIFT) build -c release --product stave
	@mkdir -p build
	@cp .build/release/stave build/stave.new && mv build/stave.new build/stave

run: all
	@Scripts/sizeable-source > build/sizeable.swift
	build/stave run --watch 0.5 --compare -- swiftc -O -c build/sizeable.swift -o build/sizeable.o

# Everything with a fixed seed, then what is random once more with a fresh one, which it prints.
test: all
	STAVE_SEED=1 $(SWIFT) test --skip anotherSeed
	$(SWIFT) test --skip-build --skip PreloadTests
	$(SWIFT) test --skip-build --filter anotherSeed

soak: all
	Scripts/soak

bench: all
	$(SWIFT) run -c release --package-path Benchmarks stave-bench

bench-peers:
	Benchmarks/install-peers.sh

check: all
	Scripts/check-ladder
	Scripts/check-lessons
	Scripts/check-analysis
	Scripts/check-library build/libstave.so $(PRELOAD)/$(SPEED)/libstave-malloc.so

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib
	install -m 755 build/stave $(DESTDIR)$(PREFIX)/bin/stave
	install -m 755 build/libstave.so $(DESTDIR)$(PREFIX)/lib/libstave.so.0
	ln -sf libstave.so.0 $(DESTDIR)$(PREFIX)/lib/libstave.so

clean:
	rm -rf build .build Benchmarks/.build
