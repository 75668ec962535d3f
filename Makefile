# The commands of this project. `make check` is what CI runs.
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: versions help install lock fmt lint types layers unit properties histories integration conformance migrations chaos attacks fuzz heavy \
        check freeze frozen revision db demo

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## make .venv and install everything into it
	python3 bootstrap.py install

lock: ## make requirements.lock anew (needs uv)
	@printf 'hatchling\neditables\n' > .build-requirements.in
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url \
		--upgrade --extra embedded --extra dev pyproject.toml .build-requirements.in -o .requirements.new
	@{ sed -n '/^#/p' requirements.lock | head -2; cat .requirements.new; } > .requirements.lock.new
	@mv .requirements.lock.new requirements.lock && rm -f .requirements.new .build-requirements.in

fmt: ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: ## look for mistakes without running anything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: ## check the types
	$(BIN)/mypy -p perdure
	$(BIN)/mypy tests

layers: ## check who imports whom
	$(BIN)/lint-imports

unit: ## tests of single functions, without sockets
	$(BIN)/pytest tests/unit

properties: ## tests with generated input
	$(BIN)/pytest tests/properties

histories: ## recorded histories still replay
	$(BIN)/pytest tests/histories

integration: ## tests on a real PostgreSQL
	$(BIN)/pytest tests/integration -m "not heavy"

conformance: ## documented behaviour
	$(BIN)/pytest tests/conformance -m "not heavy"

migrations: ## up, down, frozen and living SQL
	$(BIN)/pytest tests/migrations -m "not heavy"

chaos: ## kills and lost connections
	$(BIN)/pytest tests/chaos -m "not heavy"

attacks: ## try to gain rights; prints attack, expected, seen
	$(BIN)/pytest tests/attacks -m attacks --ignore tests/attacks/test_fuzz.py --timeout 3600

fuzz: ## more than 100,000 hostile inputs; PERDURE_FUZZ_SEED chooses others
	$(BIN)/pytest tests/attacks/test_fuzz.py -m "attacks and heavy" --timeout 7200

versions: ## the conformance suite, then the attacks, on PostgreSQL 14 to 18
	$(BIN)/python -m tests.versions
	$(BIN)/python -m tests.versions --attacks

heavy: ## what takes minutes
	$(BIN)/pytest -m heavy --timeout 3600

check: ## everything that CI runs
	bash .ci/run

freeze: ## copy the living SQL to the open revision
	$(BIN)/python -m perdure.schema.frozen

frozen: ## fail where the copies differ from the living SQL
	$(BIN)/python -m perdure.schema.frozen --check

revision: ## start a revision: make revision message="what changes"
	$(BIN)/alembic revision -m "$(message)"

db: ## an embedded server and a worker until Ctrl-C
	$(BIN)/perdure dev

demo: ## kill a worker in the middle of a workflow and see it finish
	$(BIN)/perdure demo
