# guest-pulld and what it needs; included by the Makefile. Generated code lies in $(BUILD)/gen.

DEPS_BUILD += libprotobuf-c-dev protobuf-c-compiler
DEPS_CHECK += golang-go golang-github-containerd-ttrpc-dev golang-github-gogo-protobuf-dev systemd
CPPFLAGS += -I$(BUILD)/gen
PKGS_PULL += libprotobuf-c
PKGS_ALL += libprotobuf-c
PKGS_SERVICE := $(PKGS_BASE) gio-2.0 libprotobuf-c

PROTOS := $(wildcard base/*.proto puller/*.proto service/*.proto)
PROTO_GEN := $(patsubst %.proto,$(BUILD)/gen/%.pb-c.c,$(PROTOS))
proto-obj = $(patsubst %.proto,$(BUILD)/obj/gen/%.pb-c.o,$(wildcard $(1)/*.proto))

# All headers are there before anything that may include them is compiled.
$(call obj,$(wildcard base/ttrpc*.c puller/*.c service/*.c tests/unit/base/*.c tests/unit/puller/*.c tests/unit/service/*.c tests/service/*.c)): \
  | $(PROTO_GEN)

$(BUILD)/gen/%.pb-c.c: %.proto
	@mkdir -p $(@D)
	$(Q)protoc-c --proto_path=. --c_out=$(BUILD)/gen $<

# protobuf-c's output is not written for our warnings.
$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC $<")
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) -std=gnu17 -g $(OPT) $(HARDEN) $(CFLAGS) -c $< -o $@

$(BUILD)/lib/base.a: $(call proto-obj,base)
$(BUILD)/lib/puller.a: $(call proto-obj,puller)

# main.c apart, so that the unit tests can link the rest
$(BUILD)/lib/service.a: $(call obj,$(filter-out service/main.c,$(wildcard service/*.c))) $(call proto-obj,service)

SERVICE := $(BUILD)/bin/guest-pulld
PROGRAMS += $(SERVICE)
all: $(SERVICE)

$(SERVICE): $(call obj,service/main.c) $(BUILD)/lib/service.a $(BUILD)/lib/base.a
	@mkdir -p $(@D)
	$(call link,$^,$(PKGS_SERVICE))

UNIT_LIBS_service := service base
$(eval $(call unit-rule,service))

# ---- an independent other side for the tests: Debian's Go ttrpc
PEER := $(BUILD)/tests/service/peer
$(PEER): $(wildcard tests/service/peer/*.go)
	@mkdir -p $(@D)
	$(Q)GO111MODULE=off GOPATH=/usr/share/gocode GOFLAGS= GOCACHE=$(abspath $(BUILD))/go-cache /usr/lib/go/bin/go build -o $@ $^

.PHONY: check-service check-service-quick
check-service-quick: QUICK := -m quick
check-service check-service-quick: $(PROGRAMS) $(PEER) $(BUILD)/tests/service/guest_services
	$(Q)BUILD=$(abspath $(BUILD)) $(PYTHON) -m pytest -q -p no:cacheprovider tests/service $(QUICK)

# the puller's client functions as a program, for the same tests
GUEST_SERVICES := $(BUILD)/tests/service/guest_services
$(GUEST_SERVICES): $(call obj,tests/service/guest_services.c puller/guest_services.c) $(call proto-obj,puller) $(BUILD)/lib/base.a
	@mkdir -p $(@D)
	$(call link,$^,$(PKGS_SERVICE))

.PHONY: install-service
install: install-service
install-service: $(SERVICE)
	install -D -m 0755 $(SERVICE) $(DESTDIR)$(PREFIX)/bin/guest-pulld
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system $(addprefix packaging/systemd/,guest-pulld.service \
	  guest-pulld.socket guest-pull.socket guest-pull@.service guest-pull-volume.service)
	sed -i 's|/usr/bin/guest-pull|$(PREFIX)/bin/guest-pull|g' $(DESTDIR)$(PREFIX)/lib/systemd/system/guest-pull*.service
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/tmpfiles.d packaging/tmpfiles.d/guest-pull.conf
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/guest-pull packaging/kata/components.toml packaging/cdh.toml.example \
	  packaging/systemd/confidential-data-hub.service.d/guest-pull.conf
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/share/doc/guest-pull packaging/kata/install-in-place
