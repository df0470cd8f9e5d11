# SPDX-License-Identifier: Apache-2.0
# The targets people type. Meson does the work; what it makes is in build/.

BUILD ?= build
MESON_OPTIONS ?=
ifdef CI
MESON_OPTIONS += -Dwerror=true
endif

.PHONY: build help setup demo test test-slow bench bench-node bench-sched bench-farmem lint asan tsan fuzz vm gpu install clean

build: $(BUILD)/build.ninja
	@meson compile -C $(BUILD)

help:
	@echo 'make            build everything; programs are in $(BUILD)/bin'
	@echo 'make setup      install the packages that are missing, and CRIU'
	@echo 'make demo       set up, build, and replay a trace on a node [TRACE=FILE]'
	@echo 'make test       set up, build, and run the tests'
	@echo 'make test-slow  the same and the slow ones'
	@echo 'make bench      all benchmarks; bench-node: the node against nginx; bench-sched: the scheduler; bench-farmem: far memory'
	@echo 'make lint       clang-tidy, cppcheck, shellcheck, every header alone'
	@echo 'make asan       the tests under AddressSanitizer and UBSan; tsan: ThreadSanitizer'
	@echo 'make fuzz       every fuzzer for a while [TIME=60]'
	@echo 'make vm         the tests on stock Debian kernels in QEMU, those of the kernel module too'
	@echo 'make gpu        correctness and speed of checkpoints of GPU programs, on a machine with a GPU and PyTorch'
	@echo 'make install    [DESTDIR=DIR]'
	@echo 'make clean'

$(BUILD)/build.ninja:
	@meson setup $(BUILD) $(MESON_OPTIONS)

setup:
	@tools/setup

demo:
	@tools/setup demo
	@$(MAKE) --no-print-directory build
	@tools/demo $(if $(TRACE),--trace '$(TRACE)')

test:
	@tools/setup test
	@$(MAKE) --no-print-directory build
	@tools/run-tests $(BUILD)

test-slow:
	@tools/setup test
	@$(MAKE) --no-print-directory build
	@tools/run-tests --slow $(BUILD)

bench: bench-node bench-sched bench-farmem

bench-node:
	@tools/setup bench
	@$(MAKE) --no-print-directory build
	@tools/bench-node

bench-sched:
	@tools/setup bench
	@$(MAKE) --no-print-directory build
	@tools/bench-sched

bench-farmem:
	@tools/setup bench
	@$(MAKE) --no-print-directory build
	@tools/bench-farmem --build $(BUILD) --out $(BUILD)

lint:
	@tools/setup lint
	@$(MAKE) --no-print-directory build
	@tools/check-headers $(BUILD)
	@tools/check-scripts
	@tools/check-c $(BUILD)

asan:
	@tools/setup test
	@$(MAKE) --no-print-directory build BUILD=build-asan MESON_OPTIONS='-Db_sanitize=address,undefined -Db_lundef=false'
	@tools/run-tests --suite unit --suite prop --suite fault --suite fuzz build-asan

tsan:
	@tools/setup test
	@$(MAKE) --no-print-directory build BUILD=build-tsan MESON_OPTIONS='-Db_sanitize=thread -Db_lundef=false'
	@tools/run-tests --suite unit --suite prop build-tsan

fuzz:
	@tools/setup lint
	@$(MAKE) --no-print-directory build BUILD=build-fuzz MESON_OPTIONS='-Db_sanitize=address,undefined -Db_lundef=false'
	@tools/fuzz build-fuzz $(or $(TIME),60)

vm:
	@tools/setup vm
	@$(MAKE) --no-print-directory build
	@tools/vm-storage --build $(BUILD)
	@tools/vm-pool --build $(BUILD)
	@tools/vm --build $(BUILD)

# HEARTH_BUILD: what tools/bundle made, on a machine that cannot build
gpu:
	@[ -n "$(HEARTH_BUILD)" ] || $(MAKE) --no-print-directory build
	@export HEARTH_BUILD='$(or $(HEARTH_BUILD),$(CURDIR)/$(BUILD))'; \
		python3 tests/gpu/run.py $(GPU_OPTIONS); failed=$$?; \
		[ $$failed -eq 2 ] || python3 tests/gpu/ds_speed.py $(DS_OPTIONS) || failed=1; \
		exit $$failed

install: build
	@meson install -C $(BUILD) $(if $(DESTDIR),--destdir '$(DESTDIR)')

clean:
	rm -rf build build-asan build-tsan build-fuzz
