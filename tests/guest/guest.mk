# A real guest under test: "make check-guest". Included by the Makefile; tests/guest/guest.py says how to debug it.

# What is unpacked, packed and emulated, and the programs that go into the guest.
DEPS_GUEST := qemu-system-x86 cpio kmod xz-utils binutils socat cryptsetup-bin dmsetup e2fsprogs xfsprogs libgcc-s1

.PHONY: deps-guest check-guest guest-shell
# QEMU is what a machine may not be able to have; without it the tests say so and are skipped.
deps-guest: deps deps-check
	$(Q)packaging/install-packages $(DEPS_GUEST) || echo "check-guest: packages are missing: the guest may be skipped" >&2

check-guest: deps-guest
	$(Q)$(MAKE) --no-print-directory all
	$(Q)BUILD=$(abspath $(BUILD)) $(PYTHON) -m pytest -q -rs -p no:cacheprovider --durations=0 tests/guest $(GUEST_TESTS)

# A guest with a shell on this terminal: KERNEL=6.1 chooses, Ctrl-A X ends it.
guest-shell: deps-guest
	$(Q)$(MAKE) --no-print-directory all
	$(Q)BUILD=$(abspath $(BUILD)) $(PYTHON) tests/guest/guest.py $(KERNEL)
