# A real guest under test: "make check-guest". Included by the Makefile; tests/guest/guest.py says how to debug it.

# What is unpacked, packed and emulated, and the programs that go into the guest.
DEPS_GUEST := qemu-system-x86 cpio kmod xz-utils binutils socat cryptsetup-bin dmsetup e2fsprogs xfsprogs libgcc-s1

# The tests that are about chance do less in check-guest: under ten minutes on two processors in all.
GUEST_ROUNDS ?= 0.2

.PHONY: deps-guest check-guest check-guest-long guest-shell
# QEMU is what a machine may not be able to have; without it the tests say so and are skipped.
deps-guest: deps deps-check
	$(Q)packaging/install-packages $(DEPS_GUEST) || echo "check-guest: packages are missing: the guest may be skipped" >&2

check-guest: deps-guest
	$(Q)$(MAKE) --no-print-directory all
	$(Q)BUILD=$(abspath $(BUILD)) GUEST_ROUNDS=$(GUEST_ROUNDS) $(PYTHON) -m pytest -q -rs -s -p no:cacheprovider --durations=0 tests/guest $(GUEST_TESTS)

# 20 rounds of parallel unpacking in each mode, 20 power cuts.
check-guest-long: GUEST_ROUNDS := 1
check-guest-long: check-guest

# A guest with a shell on this terminal: KERNEL=6.1 chooses, Ctrl-A X ends it.
guest-shell: deps-guest
	$(Q)$(MAKE) --no-print-directory all
	$(Q)BUILD=$(abspath $(BUILD)) $(PYTHON) tests/guest/guest.py $(KERNEL)
