# The long forms of tests/integration/test_layers.py: every pair of features, 400 random stacks, the corpus of the benchmark, floods.

# What bench/'s corpus builder leaves behind: oci/NAME-{gz,zst} layouts.
GUEST_PULL_CORPUS ?= /var/cache/guest-pull-bench/corpus/oci
DEPS_CORPUS := podman umoci

.PHONY: check-layers check-corpus

check-layers: $(PROGRAMS)
	$(Q)BUILD=$(abspath $(BUILD)) GUEST_PULL_CASES=all $(PYTHON) -m pytest -q -s -p no:cacheprovider tests/integration/test_layers.py tests/integration/test_hostile.py

check-corpus: $(PROGRAMS)
	$(Q)packaging/install-packages $(DEPS_CORPUS)
	$(Q)BUILD=$(abspath $(BUILD)) $(PYTHON) tests/corpus.py $(GUEST_PULL_CORPUS)
