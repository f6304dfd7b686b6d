# make bench, make bench-scale: speed and memory, see CONTRIBUTING.md. Slow, and only meaningful on a machine that does nothing else.

DEPS_BENCH := podman buildah umoci containerd skopeo docker-registry mmdebstrap e2fsprogs jq pigz zstd curl attr libcap2-bin busybox-static
FLOOR := $(BUILD)/bench/floor

$(FLOOR): bench/floor.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -O2 $(WARN) -o $@ $< $(call pkg-libs,libarchive libcrypto libzstd libisal) -lpthread

.PHONY: bench bench-scale
bench bench-scale: deps
	$(Q)packaging/install-packages $(DEPS_BENCH)
	$(Q)tests/tools/peers.sh "$${GUEST_PULL_PEERS:-/var/cache/guest-pull-peers}" >/dev/null || true
	$(Q)$(MAKE) --no-print-directory all $(FLOOR)
	$(Q)BUILD=$(abspath $(BUILD)) $(PYTHON) bench/$(if $(filter bench,$@),bench.py,scale.py) $(BENCH)

# make bench-verify: what verifying one signature costs, and which requests it takes.
.PHONY: bench-verify
$(BUILD)/bench/verify: $(call obj,bench/verify.c) $(BUILD)/lib/sigstore.a $(BUILD)/lib/base.a
	@mkdir -p $(@D)
	$(call link,$^,$(PKGS_PULL))
bench-verify: deps deps-check
	$(Q)$(MAKE) --no-print-directory all $(BUILD)/bench/verify
	$(Q)BUILD=$(abspath $(BUILD)) $(PYTHON) bench/verify.py
