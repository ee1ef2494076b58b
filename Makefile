# The interpreter is named: python3-gi and the other bindings of C libraries come from the
# distribution, and another python3 that is first on PATH does not have them.
PYTHON := /usr/bin/python3
VENV := .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin
MAN := $(wildcard man/*.[1-9])
# Where packages are put.
DIST := dist
# Where `make install` installs.
PREFIX := /usr/local
LIBRARY := $(PREFIX)/lib/lunasched
SYSTEM_UNITS := $(wildcard packaging/systemd/lunasched*)
USER_UNITS := $(wildcard packaging/systemd/user/lunasched*)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# What is imported is compiled once, and not by each of the processes.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV

.PHONY: help venv packages image lint format test test-fast test-vm test-sid test-stress fuzz campaigns security stalls \
    torture soak demo bench deb rpm release-check install uninstall clean
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(STAMP) image ## see a job run on a booted systemd, in a throw-away container
	@$(PYTHON) tests/support/demo.py

test: | packages ## set up, lint and run every test, in parts beside each other (as root: it boots containers)
	@$(MAKE) --no-print-directory --jobs=2 lint image
	@$(BIN)/python tests/support/everything.py

test-fast: $(STAMP) ## the tests that need no booted systemd, in less than 2 minutes
	@$(BIN)/python tests/support/everything.py --quick

test-vm: $(STAMP) image ## the tests that set clocks and cut power, in a qemu virtual machine
	@$(BIN)/pytest -m vm tests/vm

test-sid: $(STAMP) ## the unit tests under the newest Python, and one test a feature on the newest systemd (Debian sid)
	@$(PYTHON) tests/support/newest.py
	@$(BIN)/python tests/support/chosen.py sid --vm

test-stress: $(STAMP) image ## the tests on a machine beside 16 busy processes (as root; TESTS=files)
	@$(BIN)/python tests/support/stress.py $(TESTS)

fuzz: $(STAMP) image ## 100,000 inputs for what reads schedules, files, crontabs and requests (FUZZ_N, LUNASCHED_SEED)
	@$(BIN)/python tests/security/fuzz.py
	@FUZZ_N=$$(($${FUZZ_N:-100000} / 10)) $(BIN)/pytest -q tests/system/test_systemd_versions.py

lint: $(STAMP) ## ruff, mypy --strict, and mandoc and man on the man pages
	@$(BIN)/ruff check --quiet --output-format concise
	@$(BIN)/ruff format --check --quiet || \
	    { $(BIN)/ruff format --check; echo "run: make format" >&2; exit 1; }
	@$(BIN)/mypy --strict --no-error-summary
	@mandoc -T lint -W warning $(MAN)
	@said=$$(for page in $(MAN); do \
	    LC_ALL=C.UTF-8 MANWIDTH=100 man --warnings --local-file $$page 2>&1 >/dev/null; \
	done); [ -z "$$said" ] || { echo "$$said"; exit 1; }
	@echo "lint: clean"

format: $(STAMP) ## lay out the code as lint wants it
	@$(BIN)/ruff check --quiet --fix
	@$(BIN)/ruff format

campaigns: $(STAMP) image ## the kills and random inputs of the tests, several times as many, and the long tests (as root)
	@LUNASCHED_CAMPAIGN=full $(BIN)/pytest -m 'campaign or long'

security: $(STAMP) image ## carry out the attacks of tests/security at full length (as root)
	@LUNASCHED_CAMPAIGN=full $(BIN)/pytest tests/security

stalls: $(STAMP) image ## stop journald for up to ten minutes at each stage of a run (as root)
	@LUNASCHED_CAMPAIGN=full $(BIN)/pytest -rP tests/system/test_late_journal.py

torture: $(STAMP) image ## faults on a booted machine, and a judge (as root; TORTURE_S, _SEED, _FAULTS)
	@$(BIN)/python tests/support/torture.py

soak: $(STAMP) image ## a month of 1,000 jobs in a virtual machine, hours (as root; SOAK_JOBS, SOAK_DAYS)
	@$(BIN)/python tests/support/soak.py

bench: $(STAMP) image ## measure; each figure beside its goal, limit and last value (bench.json)
	@$(BIN)/python tests/support/bench.py

venv: $(STAMP) ## make .venv/bin/lunasched

$(STAMP): pyproject.toml | packages
	@echo "making $(VENV)"
	@$(PYTHON) -m venv --system-site-packages $(VENV)
	@$(BIN)/python -m pip install -qq --upgrade --upgrade-strategy eager --editable '.[dev]'
	@touch $@

packages:
	@tests/support/setup.sh

image: | packages ## make the root of the test machines
	@$(PYTHON) tests/support/machine.py image >/dev/null

deb: ## build the Debian package for this release of Debian (DIST=dist)
	@packaging/build-deb $(DIST)

rpm: ## build the rpm package (DIST=dist)
	@packaging/build-rpm $(DIST)

release-check: ## see whether this tree can be released
	@packaging/release-check

install: ## install lunasched from this tree, as root (PREFIX=/usr/local)
	@$(PYTHON) -c 'import gi, systemd.journal' || { \
	    echo "run: apt-get install python3-venv python3-gi python3-pydbus python3-systemd" >&2; \
	    exit 1; }
	@$(PYTHON) -m venv --clear --system-site-packages $(LIBRARY)
	@$(LIBRARY)/bin/python -m pip install --quiet .
	@sed -i '1s,$$, -I,' $(LIBRARY)/bin/lunasched $(LIBRARY)/bin/lunasched-daemon
	@mkdir -p $(PREFIX)/bin
	@ln -sf $(LIBRARY)/bin/lunasched $(LIBRARY)/bin/lunasched-daemon $(PREFIX)/bin/
	@packaging/install-units --prefix $(PREFIX)
	@$(LIBRARY)/bin/python packaging/completions/generate.py --prefix $(PREFIX)
	@echo "installed in $(PREFIX); now run:"
	@echo "    systemd-sysusers && systemd-tmpfiles --create lunasched.conf && systemctl daemon-reload"
	@echo "    systemctl enable --now lunasched"

install-cron: ## after install, on a machine without cron: crontab(1) and its service, as root
	@sed '1s,.*,#!$(LIBRARY)/bin/python -I,' packaging/crontab >$(PREFIX)/bin/crontab
	@chmod 755 $(PREFIX)/bin/crontab
	@packaging/install-units --cron --prefix $(PREFIX)
	@echo "installed in $(PREFIX); now run:"
	@echo "    systemd-sysusers && systemd-tmpfiles --create lunasched-cron.conf && systemctl daemon-reload"
	@echo "    systemctl enable --now lunasched-usercrontab.socket"

uninstall: ## remove what `make install` installed; jobs, their units and the history stay
	@for unit in lunasched.service lunasched-sync.timer lunasched-history.socket lunasched-start.socket \
	    lunasched-crontabs.path lunasched-crontabs.service lunasched-usercrontab.socket; do \
	    path=$$(systemctl show --property FragmentPath --value $$unit 2>/dev/null) || continue; \
	    if [ "$$path" = "$(PREFIX)/lib/systemd/system/$$unit" ]; then \
	        systemctl disable --quiet --now $$unit; \
	    fi; \
	done
	@if grep -qs '^#!$(LIBRARY)/' $(PREFIX)/bin/crontab; then \
	    rm $(PREFIX)/bin/crontab $(PREFIX)/share/man/man1/crontab.1 $(PREFIX)/share/man/man5/crontab.5; \
	fi
	@rm -rf $(LIBRARY) $(PREFIX)/libexec/lunasched
	@rm -f $(PREFIX)/bin/lunasched $(PREFIX)/bin/lunasched-daemon \
	    $(patsubst packaging/systemd/%,$(PREFIX)/lib/systemd/system/%,$(SYSTEM_UNITS)) \
	    $(patsubst packaging/systemd/%,$(PREFIX)/lib/systemd/%,$(USER_UNITS)) \
	    $(PREFIX)/lib/sysusers.d/lunasched.conf $(PREFIX)/lib/tmpfiles.d/lunasched.conf \
	    $(PREFIX)/lib/sysusers.d/lunasched-cron.conf $(PREFIX)/lib/tmpfiles.d/lunasched-cron.conf \
	    $(PREFIX)/share/bash-completion/completions/lunasched \
	    $(PREFIX)/share/zsh/site-functions/_lunasched \
	    $(PREFIX)/share/fish/vendor_completions.d/lunasched.fish \
	    $(if $(filter /usr,$(PREFIX)),/usr/share,/etc)/polkit-1/rules.d/00-lunasched.rules \
	    $(foreach page,$(MAN),$(PREFIX)/share/man/man$(subst .,,$(suffix $(page)))/$(notdir $(page)))
	@echo "uninstalled from $(PREFIX); now run: systemctl daemon-reload"

clean: ## remove what was made here, and test machines that were left
	@if [ "$$(id -u)" = 0 ]; then $(PYTHON) tests/support/machine.py clean; fi
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
