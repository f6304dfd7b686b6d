# Fuzzing. tests/fuzz/fuzz_NAME.c has LLVMFuzzerTestOneInput() and one line "FUZZ_LIBS: FOLDER…" in its first comment: the libraries that it links,
# as UNIT_LIBS_* of the Makefile. Kept inputs are tests/fuzz/corpus/NAME/*; an optional tests/fuzz/NAME.dict has words. Nothing else is to be written.
#
#   make fuzz-smoke [FUZZ_SECONDS=60] [FUZZ=NAME…]   builds with clang's libFuzzer, ASan and UBSan and runs each from its kept inputs
#   make fuzz-keep [FUZZ=NAME…]                      adds what fuzz-smoke found, as far as it reaches new code, to the kept inputs
#   make check-unit                                  replays all kept inputs, built by the ordinary compiler (check-asan: with sanitizers)

FUZZ_SECONDS ?= 60
FUZZ_ALL := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ ?= $(FUZZ_ALL)
FUZZ_BUILD ?= build-fuzz
# Debian names clang's runtime after the version that "clang" is: 14 in bookworm, 19 in trixie.
DEPS_FUZZ = clang libclang-rt-$(shell apt-cache depends clang 2>/dev/null | sed -n 's/^ *Depends: clang-\([0-9]*\)$$/\1/p' | head -1)-dev

.PHONY: fuzz-smoke fuzz-keep fuzz-programs

fuzz-libs = $(foreach l,$(shell sed -n 's/^.*FUZZ_LIBS: *\([a-z ]*\).*/\1/p' tests/fuzz/fuzz_$(1).c),$(BUILD)/lib/$(l).a)
define fuzz-rule
$(BUILD)/tests/fuzz/$(1): $(BUILD)/obj/tests/fuzz/fuzz_$(1).o $(call fuzz-libs,$(1))
	@mkdir -p $$(@D)
	$$(call link,$$^,$$(PKGS_ALL),$$(LIBSTDCXX) -fsanitize=fuzzer)
$(BUILD)/tests/fuzz/replay_$(1): $(BUILD)/obj/tests/fuzz/fuzz_$(1).o $(BUILD)/obj/tests/fuzz/replay.o $(call fuzz-libs,$(1))
	@mkdir -p $$(@D)
	$$(call link,$$^,$$(PKGS_ALL),$$(LIBSTDCXX))
endef
$(foreach f,$(FUZZ_ALL),$(eval $(call fuzz-rule,$(f))))
FUZZ_REPLAY := $(patsubst %,$(BUILD)/tests/fuzz/replay_%,$(FUZZ_ALL))

fuzz-programs: $(patsubst %,$(BUILD)/tests/fuzz/%,$(FUZZ))

# Warnings are the ordinary compiler's business; hardening would hide what a sanitizer should see.
# vptr and function checks need the C++ runtime of the sanitizer, which a program linked by the C compiler does not have.
fuzz-build = $(MAKE) --no-print-directory BUILD=$(FUZZ_BUILD) CC=clang CXX=clang++ SANITIZE=1 OPT=-O1 WARN=-w \
  HARDEN='-fPIE -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize=vptr,function -fno-sanitize-recover=all -fno-omit-frame-pointer -DGP_SANITIZED=1' \
  FUZZ='$(FUZZ)' fuzz-programs

fuzz-smoke:
	$(Q)packaging/install-packages $(DEPS_BUILD) $(DEPS_FUZZ)
	+$(Q)$(fuzz-build)
	$(Q)$(PYTHON) tests/fuzz/run.py --build $(FUZZ_BUILD) --seconds $(FUZZ_SECONDS) $(FUZZ)

fuzz-keep:
	+$(Q)$(fuzz-build)
	$(Q)$(PYTHON) tests/fuzz/run.py --build $(FUZZ_BUILD) --keep $(FUZZ)
