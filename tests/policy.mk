# Policies: skopeo 1.22 as the oracle for every case; "make check" draws some of them.
.PHONY: check-policy-oracle
check-policy-oracle: deps deps-check
	$(Q)$(MAKE) --no-print-directory all
	$(Q)GUEST_PULL_ORACLE=all BUILD=$(abspath $(BUILD)) $(PYTHON) -m pytest -q -s -p no:cacheprovider \
	  tests/integration/test_policy_oracle.py
