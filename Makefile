# SPDX-License-Identifier: BSD-2-Clause
#
# make            build/stave, build/libstave.so and build/libstave.a
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

.PHONY: all library static command run test bench bench-peers soak check install clean

all: library static command

library:
	@STAVE_PRELOAD=1 $(SWIFT) build -c $(SPEED) --omit-frame-pointers --traits Preload --scratch-path $(PRELOAD) --product stave-malloc
	@Scripts/install-library $(PRELOAD)/$(SPEED)/libstave-malloc.so build/libstave.so

static: library
	@SWIFT=$(SWIFT) Scripts/make-archive $(PRELOAD)/$(SPEED)/stave-malloc.product/Objects.LinkFileList build/libstave.a

command:
	@$(SWIFT) build -c release --product stave
	@mkdir -p build
	@cp .build/release/stave build/stave.new && mv build/stave.new build/stave

run: all
	@Scripts/sizeable-source > build/sizeable.swift
	build/stave run --watch 0.5 --compare -- swiftc -O -c build/sizeable.swift -o build/sizeable.o

test: all
	$(SWIFT) test

soak: all
	STAVE_TEST_SCALE=100 $(SWIFT) test

bench: all
	$(SWIFT) run -c release --package-path Benchmarks stave-bench

bench-peers:
	Benchmarks/install-peers.sh

check: all
	Scripts/check-ladder
	Scripts/check-library build/libstave.so $(PRELOAD)/$(SPEED)/libstave-malloc.so
	Scripts/check-archive build/libstave.a

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib
	install -m 755 build/stave $(DESTDIR)$(PREFIX)/bin/stave
	install -m 755 build/libstave.so $(DESTDIR)$(PREFIX)/lib/libstave.so.0
	[ ! -f build/libstave.a ] || install -m 644 build/libstave.a $(DESTDIR)$(PREFIX)/lib/libstave.a
	ln -sf libstave.so.0 $(DESTDIR)$(PREFIX)/lib/libstave.so

clean:
	rm -rf build .build Benchmarks/.build
