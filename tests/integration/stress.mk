# Long runs of two integration tests; "make check" runs them with small counts. Included by the Makefile.

KILLS ?= 300
ROUNDS ?= 50

.PHONY: check-crash check-storm
check-crash: $(PROGRAMS)
	$(Q)GUEST_PULL_KILLS=$(KILLS) BUILD=$(abspath $(BUILD)) $(PYTHON) -m pytest -q -p no:cacheprovider tests/integration/test_crash.py

check-storm: $(PROGRAMS)
	$(Q)GUEST_PULL_ROUNDS=$(ROUNDS) BUILD=$(abspath $(BUILD)) $(PYTHON) -m pytest -q -p no:cacheprovider tests/integration/test_storm.py
