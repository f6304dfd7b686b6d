# A real guest under test: "make check-guest". Included by the Makefile; tests/guest/guest.py says how to debug it.

# What is unpacked, packed and emulated, and the programs that go into the guest.
DEPS_GUEST := qemu-system-x86 cpio kmod xz-utils binutils socat cryptsetup-bin dmsetup e2fsprogs xfsprogs libgcc-s1

# The tests that are about chance do less in check-guest: under ten minutes on two processors in all.
GUEST_ROUNDS ?= 0.15

.PHONY: deps-guest check-guest check-guest-long check-guest-1 check-guest-2 guest-shell
# QEMU is what a machine may not be able to have; without it the tests say so and are skipped.
deps-guest: deps deps-check
	$(Q)packaging/install-packages $(DEPS_GUEST) || echo "check-guest: packages are missing: the guest may be skipped" >&2

# What is timed comes first and alone; then the rest in two halves, each a guest at a time. GUEST_TESTS="-k power": some of it.
GUEST_PYTEST = BUILD=$(abspath $(BUILD)) GUEST_ROUNDS=$(GUEST_ROUNDS) $(PYTHON) -m pytest -q -rs -s -p no:cacheprovider --durations=0
GUEST_SPEED := tests/guest/test_volume_speed.py
GUEST_HALF_1 := $(addprefix tests/guest/test_,no_memory.py service.py small_and_full.py tampering.py)
GUEST_HALF_2 := $(filter-out $(GUEST_SPEED) $(GUEST_HALF_1),$(wildcard tests/guest/test_*.py))

check-guest: deps-guest
	$(Q)$(MAKE) --no-print-directory all
ifneq ($(GUEST_TESTS),)
	$(Q)$(GUEST_PYTEST) tests/guest $(GUEST_TESTS)
else
	$(Q)$(GUEST_PYTEST) $(GUEST_SPEED); speed=$$?; \
	$(MAKE) --no-print-directory -k -j2 -Otarget GUEST_ROUNDS=$(GUEST_ROUNDS) check-guest-1 check-guest-2 && exit $$speed
endif

check-guest-1:
	$(Q)$(GUEST_PYTEST) $(GUEST_HALF_1)

check-guest-2:
	$(Q)$(GUEST_PYTEST) $(GUEST_HALF_2)

# 20 rounds of parallel unpacking in each mode, 20 power cuts.
check-guest-long: GUEST_ROUNDS := 1
check-guest-long: check-guest

# A guest with a shell on this terminal: KERNEL=6.1 chooses, Ctrl-A X ends it.
guest-shell: deps-guest
	$(Q)$(MAKE) --no-print-directory all
	$(Q)BUILD=$(abspath $(BUILD)) $(PYTHON) tests/guest/guest.py $(KERNEL)
