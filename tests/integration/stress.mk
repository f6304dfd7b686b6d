# Long runs of integration tests; "make check" runs them with small counts. Included by the Makefile.

KILLS ?= 300
ROUNDS ?= 50

.PHONY: check-crash check-memory check-storm check-network
check-crash: $(PROGRAMS)
	$(Q)GUEST_PULL_KILLS=$(KILLS) BUILD=$(abspath $(BUILD)) $(PYTHON) -m pytest -q -p no:cacheprovider tests/integration/test_crash.py

# Hundreds of allocations that fail.
check-memory: $(PROGRAMS)
	$(Q)GUEST_PULL_CASES=all BUILD=$(abspath $(BUILD)) $(PYTHON) -m pytest -q -p no:cacheprovider tests/integration/test_memory.py

check-storm: $(PROGRAMS)
	$(Q)GUEST_PULL_ROUNDS=$(ROUNDS) BUILD=$(abspath $(BUILD)) $(PYTHON) -m pytest -q -p no:cacheprovider tests/integration/test_storm.py

# 100 MB at 20 Mbit/s, 100 ms later each way, 2 % of all packets lost, every connection cut after 10 MB; and what else needs patience.
check-network: $(PROGRAMS)
	$(Q)GUEST_PULL_NETWORK_MB=100 GUEST_PULL_NETWORK_MBIT=20 BUILD=$(abspath $(BUILD)) \
	  $(PYTHON) -m pytest -q -s -p no:cacheprovider tests/integration/test_registries.py tests/integration/test_network.py -k "cut or line"
