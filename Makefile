# guest-pull: one Makefile. "make" builds, "make run" shows the main job, "make check" tests everything. See CONTRIBUTING.md.

BUILD ?= build
# One spelling for one place: dependency files name their targets as they were built.
override BUILD := $(patsubst $(CURDIR)/%,%,$(abspath $(BUILD)))
PREFIX ?= /usr/local
DESTDIR ?=
CC ?= gcc
CXX ?= g++
PYTHON ?= /usr/bin/python3
SANITIZE ?=
V ?=
Q = $(if $(V),,@)

VERSION := 0.1.0

# ---- what Debian must have; each list is used by "make deps" and nothing else
DEPS_BUILD := gcc g++ make pkg-config libc6-dev libglib2.0-dev zlib1g-dev libostree-dev libgpgme-dev libarchive-dev libssl-dev \
  libzstd-dev libcurl4-openssl-dev libjansson-dev libisal-dev libseccomp-dev libyaml-dev libtomlplusplus-dev libcryptsetup-dev
DEPS_RUN := docker-registry skopeo gnupg crun busybox-static jq python3 openssl util-linux ca-certificates
DEPS_CHECK := python3-pytest python3-cryptography umoci ostree attr acl libcap2-bin zstd gzip strace apache2-utils curl procps iproute2 nginx
DEPS_LINT := clang-tidy clang-format cppcheck
DEPS_SLOW := valgrind

# ---- flags
WARN := -Wall -Wextra -Werror -Wshadow -Wvla -Wcast-qual -Wswitch-enum -Wpointer-arith -Wwrite-strings -Wundef \
  -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wformat=2 -Wnull-dereference -Wimplicit-fallthrough \
  -Wno-unused-parameter -Wno-missing-field-initializers
HARDEN := -fPIE -fstack-protector-strong -fstack-clash-protection -ftrapv -fcf-protection \
  -ftrivial-auto-var-init=zero
ifeq ($(SANITIZE),)
OPT ?= -O2
HARDEN += -D_FORTIFY_SOURCE=2
else
OPT ?= -O1
HARDEN += -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DGP_SANITIZED=1
endif
CPPFLAGS += -D_GNU_SOURCE -I. -include base/banned.h -DGP_VERSION='"$(VERSION)"' -DG_LOG_DOMAIN='"guest-pull"' \
  -DGLIB_VERSION_MIN_REQUIRED=GLIB_VERSION_2_74
# No path of this machine in what is built: two checkouts give the same bytes.
CPPFLAGS += -ffile-prefix-map=$(CURDIR)=. -ffile-prefix-map=$(BUILD)/=build/
CFLAGS_ALL = -std=gnu17 -g $(OPT) $(WARN) $(HARDEN) $(CFLAGS)
# The one file of C++ (base/toml.cc); its library is linked statically, so that a guest needs no other.
CXXFLAGS_ALL = -std=gnu++17 -g $(OPT) $(filter-out -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition,$(WARN)) \
  $(HARDEN) $(CXXFLAGS)
LIBSTDCXX := -Wl,-Bstatic -lstdc++ -Wl,-Bdynamic
LDFLAGS_ALL = -pie -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed $(if $(SANITIZE),-fsanitize=address$(,)undefined) $(LDFLAGS)
, := ,

PKGS_BASE := glib-2.0 jansson libcrypto libseccomp
PKGS_PULL := $(PKGS_BASE) zlib gpgme yaml-0.1
PKGS_FETCH := $(PKGS_BASE) libssl libcurl
PKGS_UNPACK := $(PKGS_BASE) libarchive libzstd libisal
PKGS_VOLUME := $(PKGS_BASE) libcryptsetup
# libostree, and GIO with it, is loaded when a store needs it (storage/libostree.h).
PKGS_ALL := $(sort ostree-1 $(PKGS_PULL) $(PKGS_FETCH) $(PKGS_UNPACK) $(PKGS_VOLUME))
# What a clean machine lacks before "make deps" must not be a noisy error of every other target.
pkg-cflags = $(shell pkg-config --cflags $(1) 2>/dev/null | sed 's/-I/-isystem /g')
pkg-libs = $(shell pkg-config --libs $(1) 2>/dev/null)
PKG_CFLAGS := $(call pkg-cflags,$(PKGS_ALL))

# ---- sources: a folder is a library; worker_*.c of puller/ and storage/ belong to the worker programs alone, crypt_*.c of
# storage/ to guest-pull-volume, blobs_*.c of puller/ to guest-pull-blobs
FOLDERS := base policy sigstore storage puller
src = $(filter-out $(1)/worker_%.c $(1)/crypt_%.c $(1)/blobs_%.c,$(wildcard $(1)/*.c)) $(wildcard $(1)/*.cc)
FETCH_SRC := $(filter-out puller/worker_main.c,$(wildcard puller/worker_*.c))
BLOBS_SRC := $(filter-out puller/blobs_main.c,$(wildcard puller/blobs_*.c))
UNPACK_SRC := $(filter-out storage/worker_main.c,$(wildcard storage/worker_*.c))
CRYPT_SRC := $(filter-out storage/crypt_main.c,$(wildcard storage/crypt_*.c))
obj = $(patsubst %,$(BUILD)/obj/%.o,$(basename $(1)))
LIBS := $(foreach f,$(FOLDERS),$(BUILD)/lib/$(f).a)
# The arrows of the house, as link order: puller uses policy, sigstore and storage, all use base.
LINK := $(BUILD)/lib/puller.a $(BUILD)/lib/storage.a $(BUILD)/lib/sigstore.a $(BUILD)/lib/policy.a $(BUILD)/lib/base.a

BIN := $(BUILD)/bin/guest-pull
WORKERS := $(foreach w,fetch unpack volume blobs,$(BUILD)/libexec/guest-pull/guest-pull-$(w))
PROGRAMS := $(BIN) $(WORKERS)

UNIT := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/*/test_*.c))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:
.PHONY: all deps deps-check deps-lint install run check check-unit check-integration check-asan check-valgrind lint format \
  lint-arrows clean

all: $(PROGRAMS)

define folder-lib
$(BUILD)/lib/$(1).a: $(call obj,$(call src,$(1)))
endef
$(foreach f,$(FOLDERS),$(eval $(call folder-lib,$(f))))
$(BUILD)/lib/fetch.a: $(call obj,$(FETCH_SRC))
$(BUILD)/lib/blobs.a: $(call obj,$(BLOBS_SRC))
$(BUILD)/lib/unpack.a: $(call obj,$(UNPACK_SRC))
$(BUILD)/lib/crypt.a: $(call obj,$(CRYPT_SRC))

$(BUILD)/lib/%.a:
	@mkdir -p $(@D)
	$(Q)rm -f $@ && ar rcsD $@ $^

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC $<")
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

$(BUILD)/obj/%.o: %.cc
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CXX $<")
	$(Q)$(CXX) $(CPPFLAGS) $(PKG_CFLAGS) $(CXXFLAGS_ALL) -MMD -MP -c $< -o $@

link = $(if $(Q),@echo "  LD $@"$(nl)	)$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(1) $(call pkg-libs,$(2)) $(3)
define nl


endef

$(BIN): $(call obj,$(wildcard cli/*.c)) $(LINK)
	@mkdir -p $(@D)
	$(call link,$^,$(PKGS_PULL),$(LIBSTDCXX))

$(BUILD)/libexec/guest-pull/guest-pull-fetch: $(call obj,puller/worker_main.c) $(BUILD)/lib/fetch.a $(BUILD)/lib/base.a
	@mkdir -p $(@D)
	$(call link,$^,$(PKGS_FETCH))

$(BUILD)/libexec/guest-pull/guest-pull-unpack: $(call obj,storage/worker_main.c) $(BUILD)/lib/unpack.a \
  $(call obj,storage/entry.c) $(BUILD)/lib/base.a
	@mkdir -p $(@D)
	$(call link,$^,$(PKGS_UNPACK))

$(BUILD)/libexec/guest-pull/guest-pull-blobs: $(call obj,puller/blobs_main.c) $(BUILD)/lib/blobs.a $(BUILD)/lib/base.a
	@mkdir -p $(@D)
	$(call link,$^,$(PKGS_BASE))

$(BUILD)/libexec/guest-pull/guest-pull-volume: $(call obj,storage/crypt_main.c) $(BUILD)/lib/crypt.a \
  $(call obj,storage/volume_request.c storage/luks2_header.c) $(BUILD)/lib/base.a
	@mkdir -p $(@D)
	$(call link,$^,$(PKGS_VOLUME))

# ---- tests: one program per file, linked with the folder under test and what that folder may use
UNIT_LIBS_base := base
UNIT_LIBS_policy := policy base
UNIT_LIBS_sigstore := sigstore base
UNIT_LIBS_storage := unpack crypt storage base
UNIT_LIBS_puller := fetch blobs puller storage sigstore policy base
define unit-rule
$(BUILD)/tests/unit/$(1)/%: $(BUILD)/obj/tests/unit/$(1)/%.o $(foreach l,$(UNIT_LIBS_$(1)),$(BUILD)/lib/$(l).a)
	@mkdir -p $$(@D)
	$$(call link,$$^,$$(PKGS_ALL),$$(LIBSTDCXX))
endef
$(foreach f,$(FOLDERS),$(eval $(call unit-rule,$(f))))

include tests/fuzz/fuzz.mk
include tests/layers.mk
include tests/coverage.mk

check-unit: $(PROGRAMS) $(UNIT) $(FUZZ_REPLAY)
	$(Q)GUEST_PULL_LIBEXEC=$(abspath $(BUILD))/libexec/guest-pull $(PYTHON) tests/run.py $(UNIT) $(FUZZ_REPLAY)

check-integration: $(PROGRAMS)
	$(Q)BUILD=$(abspath $(BUILD)) $(PYTHON) -m pytest -q -p no:cacheprovider tests/integration

check: deps deps-check
	$(Q)$(MAKE) --no-print-directory all
	$(Q)$(MAKE) --no-print-directory check-unit
	$(Q)$(MAKE) --no-print-directory check-integration
	$(Q)$(MAKE) --no-print-directory check-service-quick

check-asan: deps deps-check
	$(Q)$(MAKE) --no-print-directory BUILD=build-asan SANITIZE=1 all check-unit
	$(Q)$(MAKE) --no-print-directory BUILD=build-asan SANITIZE=1 check-integration

# Debian 12's valgrind knows neither openat2() nor the mount API, and a process under it cannot be confined.
UNIT_VALGRIND = $(filter-out %/base/test_sandbox %/service/test_bundle_dir $(filter-out %/test_entry %/test_sidecar %/test_layer_tree \
  %/test_name_index %/test_encrypted,$(filter $(BUILD)/tests/unit/storage/%,$(UNIT))),$(UNIT))
check-valgrind: deps
	$(Q)packaging/install-packages $(DEPS_SLOW)
	$(Q)$(MAKE) --no-print-directory $(PROGRAMS) $(UNIT)
	$(Q)GUEST_PULL_LIBEXEC=$(abspath $(BUILD))/libexec/guest-pull GUEST_PULL_WRAPPER="valgrind -q --error-exitcode=99 \
	  --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite" $(PYTHON) tests/run.py $(UNIT_VALGRIND)

-include $(if $(wildcard service/main.c),service/service.mk)
include bench/bench.mk
-include packaging/package.mk
-include tests/policy.mk
include tests/integration/stress.mk
-include tests/guest/guest.mk

# ---- the two commands of the README
deps:
	$(Q)packaging/install-packages $(DEPS_BUILD) $(DEPS_RUN)
deps-check:
	$(Q)packaging/install-packages $(DEPS_CHECK)
deps-lint:
	$(Q)packaging/install-packages $(DEPS_LINT)

run: deps
	$(Q)$(MAKE) --no-print-directory all
	$(Q)BUILD=$(abspath $(BUILD)) tests/demo/run.sh

install: all
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/bin/guest-pull
	for w in $(WORKERS); do install -D -m 0755 $$w $(DESTDIR)$(PREFIX)/libexec/guest-pull/$${w##*/} || exit 1; done
	install -D -m 0644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/guest-pull/LICENSE

# ---- lint
C_FILES = $(wildcard $(foreach f,base policy sigstore storage puller service cli,$(f)/*.c $(f)/*.h))
TIDY_FILES = $(filter %.c,$(C_FILES))

lint-arrows:
	$(Q)$(PYTHON) tests/lint_arrows.py

lint: export FLAGS = $(CPPFLAGS) $(PKG_CFLAGS) -std=gnu17 -Wno-unknown-warning-option
lint: deps deps-lint lint-arrows
	$(Q)$(MAKE) --no-print-directory all
	$(Q)clang-format --dry-run --Werror $(C_FILES) $(wildcard tests/unit/*/*.c tests/unit/*/*.h tests/fuzz/*.c)
	$(Q)cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr --enable=warning,performance,portability \
	  --suppress=nullPointerRedundantCheck --library=gtk --library=posix --suppress=missingIncludeSystem \
	  --suppressions-list=tests/cppcheck.txt -I. -D_GNU_SOURCE $(TIDY_FILES)
	$(Q)printf '%s\n' $(TIDY_FILES) | xargs -P 2 -n 4 sh -c 'eval "clang-tidy --quiet $$* -- $$FLAGS"' clang-tidy 2>&1 \
	  | { ! grep -v '^[0-9]* warnings\? generated' ; }

format: deps-lint
	$(Q)clang-format -i $(C_FILES) $(wildcard tests/unit/*/*.c tests/unit/*/*.h tests/fuzz/*.c)

clean:
	rm -rf build build-asan build-*

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
