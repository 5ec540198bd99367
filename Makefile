# Two commands do all their own set-up on a fresh machine with Python 3.11 or newer:
#
#     make demo    prepare the open world, train, evaluate, write runs/demo/report.html
#     make test    all tests
#     make bench   the benchmarks, ours against plain PyTorch: ten minutes
#
# Variables: PYTHON (interpreter that makes .venv), SIZE=smoke (a demo of two minutes),
# ARGS (handed to pytest), JOBS (processes that share the tests), MOTION (folders of more motion for
# the encoder), SET (settings of its training), PIP_TORCH_FLAGS (see CONTRIBUTING.md).

PYTHON ?= python3
VENV ?= .venv
SIZE ?= full
ARGS ?=
JOBS ?= 2
MOTION ?=
SOURCE_FPS ?=
RECIPE ?= frame_encoder_hours
SET ?=
ENCODER ?= runs/frame_encoder
ENCODER_DATA ?= data/encoder
PIP_TORCH_FLAGS ?=
BENCH ?=
EXTRAS := serve,search,video,datasets,motion,usd,dev

PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

ifeq ($(SIZE),smoke)
  DEMO := smoke
  DATA := data/smoke
  PREPARE_FLAGS := --size smoke
  TRAIN_FLAGS := --recipe smoke
else
  DEMO := demo
  DATA := data/open
  PREPARE_FLAGS :=
  TRAIN_FLAGS :=
endif
RUN := runs/$(DEMO)

.PHONY: help install demo test test-long test-machines bench check format encoder clean-demo

help:
	@echo "make demo | test | test-long | test-machines | bench | check | format | encoder | install   (see CONTRIBUTING.md)"

install: $(STAMP)

# Installed again when what is to be installed changes.
$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet $(PIP_TORCH_FLAGS) "$$(grep '^torch==' requirements.lock)"
	$(PY) -m pip install --quiet -e '.[$(EXTRAS)]' -c requirements.lock
	@touch $@

# A finished demo is run anew: its run's folder is its own.
demo: $(STAMP) clean-demo
	$(PY) -m vibe_ray.prepare open --out $(DATA) $(PREPARE_FLAGS)
	$(PY) -m vibe_ray.train --name $(DEMO) --data $(DATA) --workers 2 $(TRAIN_FLAGS)
	$(PY) -m vibe_ray.evaluate $(RUN) --data $(DATA) --baseline \
	  --report $(RUN)/report.html --json $(RUN)/metrics.json
	@echo "look at $(RUN)/report.html"

clean-demo:
	@rm -rf $(RUN)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) $(ARGS)

# BENCH names some of them: make bench BENCH="--only step inference"
bench: $(STAMP)
	$(PY) -m tests.benchmarks.run $(BENCH)

test-long: $(STAMP)
	OMP_NUM_THREADS=1 $(PY) -m pytest -m long $(ARGS)

# As on other machines: older instructions, one core, a busy neighbor; each takes as long as `test`.
test-machines: $(STAMP)
	OMP_NUM_THREADS=1 $(PY) -m tests.integration.machines -n $(JOBS) $(ARGS)

check: $(STAMP)
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy vibe_ray tune_spaces
	$(VENV)/bin/lint-imports

format: $(STAMP)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# The packaged frame encoder and its frame baseline, continued on more motion; taken up again where
# it stands. RECIPE=frame_encoder trains them from nothing. SOURCE_FPS is a file of frame rates that
# recordings do not tell (CMU's salsa is of 60 frames per second, its BVH files say 120).
encoder: $(STAMP)
	$(PY) -m vibe_ray.prepare open --out $(ENCODER_DATA) --captures 0 --heldout 0 \
	  $(addprefix --motion ,$(MOTION)) $(addprefix --source-fps ,$(SOURCE_FPS))
	$(PY) -m vibe_ray.train --recipe $(RECIPE) --workers 0 $(addprefix --set ,$(SET)) --data $(ENCODER_DATA) \
	  --storage $(dir $(ENCODER)) --name $(notdir $(ENCODER)) \
	  $(if $(wildcard $(ENCODER)/run.json),--resume)
	$(PY) -m vibe_ray.prepare export --checkpoint $(ENCODER) --out $(ENCODER)/packages --overwrite
	@echo "to ship $(ENCODER)/packages/keypoint_encoder and frame_baseline, copy them to"
	@echo "vibe_ray/pretrained/ and prepare the data again"
