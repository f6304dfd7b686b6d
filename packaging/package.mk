# Man pages, completions and the Debian package; included by the Makefile.

DEPS_CHECK += mandoc bash zsh
DEPS_DEB := dpkg-dev git
DEPS_CHECK_DEB := mmdebstrap python3-pytest

# Version and maintainer of the package; the program says the same version.
DEB_MAINTAINER ?= guest-pull maintainers <maintainers@guest-pull.invalid>
DEB = $(BUILD)/guest-pull_$(VERSION)_$(shell dpkg --print-architecture).deb

MAN_PAGES := docs/man/guest-pull.1 docs/man/guest-pulld.8 docs/man/guest-pull-policy.5

.PHONY: install-docs deb check-deb check-man

install: install-docs
install-docs:
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man1 docs/man/guest-pull.1
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man5 docs/man/guest-pull-policy.5
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man8 docs/man/guest-pulld.8
	install -D -m 0644 packaging/completion/guest-pull.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/guest-pull
	install -D -m 0644 packaging/completion/guest-pull.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/guest-pulld
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/zsh/site-functions packaging/completion/_guest-pull

# Always a clean build of its own: what goes into a measured guest must not depend on what was compiled before.
deb: deps
	$(Q)packaging/install-packages $(DEPS_DEB)
	$(Q)MAKE='$(MAKE)' packaging/build-deb '$(BUILD)/deb' '$(VERSION)' '$(DEB_MAINTAINER)' '$(DEB)'

# Slow: builds the package twice, and installs it into a Debian of its own.
check-deb: deps
	$(Q)packaging/install-packages $(DEPS_DEB) $(DEPS_CHECK_DEB)
	$(Q)BUILD=$(abspath $(BUILD)) $(PYTHON) -m pytest -q -p no:cacheprovider tests/packaging
