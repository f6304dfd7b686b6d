# Which lines of the programs the tests reach; included by the Makefile.
#
#   make coverage [COVERAGE_TESTS="check-unit …"]   builds with gcc's --coverage, runs unit, integration and quick service tests, prints a
#                                                   summary a folder and the files below the rest; tests that fail there do not end it
#
# The confined workers may open no file, so what the tests reach in them by way of the real programs is not counted: what counts of worker_*.c
# is what unit tests and kept fuzz inputs reach.

COVERAGE ?=
COVERAGE_BUILD ?= build-coverage
COVERAGE_TESTS ?= check-unit check-integration check-service-quick

ifneq ($(COVERAGE),)
$(WORKERS): LDFLAGS += -Wl,--wrap=__gcov_exit
$(WORKERS): $(BUILD)/obj/tests/coverage_worker.o
endif

# Warnings are the ordinary build's business; what is inlined would count where it is not written.
coverage-make = $(MAKE) --no-print-directory BUILD=$(COVERAGE_BUILD) COVERAGE=1 OPT='-O1 -fno-inline' WARN=-w \
  CFLAGS='--coverage -fprofile-update=atomic' CXXFLAGS='--coverage -fprofile-update=atomic'

.PHONY: coverage coverage-summary
coverage: deps deps-check
	$(Q)mkdir -p $(COVERAGE_BUILD) && find $(COVERAGE_BUILD) -name '*.gcda' -delete
	$(Q)$(coverage-make) all
	$(Q)for part in $(COVERAGE_TESTS); do $(coverage-make) $$part || echo "coverage: $$part has failures" >&2; done
	$(Q)$(PYTHON) tests/coverage.py $(COVERAGE_BUILD)

coverage-summary:
	$(Q)$(PYTHON) tests/coverage.py $(COVERAGE_BUILD)
