# usage_monitor: the ledger for AI spend, inside PostgreSQL
#
# "make help" lists what can be made.  demo, check and bench bring what they
# need (see test/sandbox); everything else is PGXS.  It builds in another
# directory too: make -f .../Makefile, or make VPATH=... beside a copy of it.

EXTENSION = usage_monitor
MODULE_big = usage_monitor
PG_CONFIG ?= pg_config

# Where the source is, as PGXS finds it.
SOURCE := $(patsubst %/,%,$(or $(VPATH),$(dir $(firstword $(MAKEFILE_LIST)))))

# The control file is the one source of the version.  (Not in VERSION: that is
# the name of PostgreSQL's own in PGXS.)
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" $(SOURCE)/$(EXTENSION).control)

# What CREATE EXTENSION runs, in this order.
SQL_PARTS = \
	sql/base/setting.sql \
	sql/base/as_owner.sql \
	sql/base/describe.sql \
	sql/base/audit.sql \
	sql/base/access.sql \
	sql/base/progress.sql \
	sql/base/calendar.sql \
	sql/pricing/price.sql \
	sql/pricing/alias.sql \
	pricing/catalogue.sql \
	sql/pricing/model_names.sql \
	sql/pricing/cost.sql \
	sql/pricing/price_rules.sql \
	sql/pricing/set_price.sql \
	sql/pricing/exchange_rate.sql \
	sql/pricing/discount.sql \
	sql/ledger/ledger.sql \
	sql/rollup/rollup.sql \
	sql/quota/quota.sql \
	sql/quota/quota_raise.sql \
	sql/quota/credit.sql \
	sql/quota/alert.sql \
	sql/ledger/unpriced_alert.sql \
	sql/counter/counter.sql \
	sql/admission/reservation.sql \
	sql/quota/quota_views.sql \
	sql/ledger/verify.sql \
	sql/ledger/retention.sql \
	sql/ledger/partitions.sql \
	sql/admission/check_quota.sql \
	sql/quota/budget.sql \
	sql/report/views.sql \
	sql/record/usage_field.sql \
	sql/record/usage_field_lines.sql \
	sql/record/normalize.sql \
	sql/record/record.sql \
	sql/record/span.sql \
	sql/pricing/explain.sql \
	sql/pricing/estimate.sql \
	sql/pricing/import_format.sql \
	sql/pricing/import.sql \
	sql/ledger/close_period.sql \
	sql/pricing/reprice.sql \
	sql/ledger/refund.sql \
	sql/ledger/void.sql \
	sql/ledger/erasure.sql \
	sql/record/reread.sql \
	sql/quota/alert_rule.sql \
	sql/report/anomaly.sql \
	sql/report/pattern.sql \
	sql/report/efficiency.sql \
	sql/report/usage_sum.sql \
	sql/report/statistics.sql \
	sql/report/report.sql \
	sql/report/forecast.sql \
	sql/report/alternative.sql \
	sql/report/advice.sql \
	sql/report/page.sql \
	sql/ledger/maintenance.sql \
	sql/ledger/keep_ledger.sql \
	sql/report/metrics.sql \
	sql/report/charge.sql \
	sql/report/focus.sql \
	sql/report/bill.sql \
	sql/report/price_age.sql \
	sql/report/spreadsheet.sql \
	sql/report/statement.sql \
	sql/report/alert_channel.sql \
	sql/access/audited.sql \
	sql/access/replicated.sql \
	sql/access/confine.sql \
	sql/access/rights.sql \
	sql/access/grants.sql \
	sql/access/published.sql

OBJS = $(patsubst $(SOURCE)/%.c,%.o,$(sort $(wildcard $(SOURCE)/src/*.c $(SOURCE)/src/*/*.c)))
DATA = $(patsubst $(SOURCE)/%,%,$(wildcard $(SOURCE)/sql/$(EXTENSION)--*.sql))
DATA_built = $(EXTENSION)--$(EXTVERSION).sql
EXTRA_CLEAN = pricing/catalogue.sql sql/record/usage_field_lines.sql

# PostgreSQL's own headers have parameters that they do not use.
PG_CPPFLAGS = -I$(SOURCE)/src -DUM_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter

# installcheck runs these in one database, in whatever order: each begins with
# an extension of its own.  Tests that start servers of their own, which root
# must not: make installcheck TAP_TESTS=1.
TEST_OPTS = --inputdir=$(SOURCE)/test
REGRESS = $(patsubst $(SOURCE)/test/sql/%.sql,%,$(sort $(wildcard $(SOURCE)/test/sql/*.sql)))
REGRESS_OPTS = $(TEST_OPTS)
ISOLATION = $(patsubst $(SOURCE)/test/specs/%.spec,%,$(sort $(wildcard $(SOURCE)/test/specs/*.spec)))
ISOLATION_OPTS = $(TEST_OPTS) --outputdir=.
ENCODING = UTF8
NO_LOCALE = 1
PROVE_TESTS = test/t/*.pl

OWN_GOALS = help demo dashboard check check-web check-examples check-grafana check-out attack bench bench-compare bench-scale reference differential check-versions check-hard lint coverage
.PHONY: $(OWN_GOALS)

ifeq (,$(filter $(OWN_GOALS),$(MAKECMDGOALS)))

ifneq ($(EXTVERSION),$(shell sed -n '/meta-spec/d; s/.*"version": *"\([^"]*\)".*/\1/p' $(SOURCE)/META.json | sort -u))
$(error META.json does not have version $(EXTVERSION) of $(EXTENSION).control)
endif

# A test and a specification would share their expected file.
CLASHES := $(filter $(REGRESS),$(ISOLATION))
ifneq (,$(strip $(CLASHES)))
$(error rename these tests, their names are taken by a specification: $(CLASHES))
endif

PGXS := $(shell $(PG_CONFIG) --pgxs)
# What is there already needs neither compiler nor headers.
ifneq (,$(filter-out install uninstall installcheck prove_installcheck clean distclean,$(or $(MAKECMDGOALS),all)))
NEEDED := $(shell $(PG_CONFIG) --includedir-server)/postgres.h
endif
ifneq ($(words $(PGXS) $(NEEDED)),$(words $(wildcard $(PGXS) $(NEEDED))))
$(error no PostgreSQL to build for: install its server-dev package, or say where it is with PG_CONFIG=...; "make check" and "make demo" install what they need)
endif

# A server that was built with LLVM asks for bitcode; do without where its
# compiler is not installed.
LLVM_TOOLS := $(shell sed -n -e 's/^CLANG *= *//p' -e 's,^LLVM_BINPATH *= *\(.*\),\1/llvm-lto,p' $(dir $(PGXS))../Makefile.global)
ifneq ($(words $(LLVM_TOOLS)),$(words $(foreach tool,$(LLVM_TOOLS),$(shell command -v $(tool)))))
override with_llvm = no
endif

include $(PGXS)

ifneq (,$(NEEDED))
ifeq (,$(shell command -v $(firstword $(CC))))
$(error no compiler "$(firstword $(CC))": install it, or say which to use with CC=...)
endif
endif

$(OBJS): $(wildcard $(SOURCE)/src/*/*.h)

# Elsewhere than in the source there are no folders yet (a rule would find those
# of the source), and pg_regress looks for what is expected where it runs.
ifneq ($(SOURCE),.)
FOLDERS := $(shell mkdir -p $(sort $(dir $(OBJS) $(EXTRA_CLEAN))))
EXTRA_CLEAN += expected
.PHONY: link-expected
installcheck: link-expected
link-expected:
	ln -sfn $(abspath $(SOURCE)/expected) expected
endif

$(DATA_built): $(EXTENSION).control $(SQL_PARTS)
	{ printf '%s\n' '\echo Use "CREATE EXTENSION $(EXTENSION)" to load this file. \quit' && cat $(filter %.sql,$^); } > $@.tmp
	mv $@.tmp $@

# A price book without prices would be worse than none.
ifeq (,$(wildcard $(SOURCE)/pricing/*.csv))
$(error there are no prices: $(SOURCE)/pricing/*.csv)
endif

pricing/catalogue.sql: pricing/sql.awk $(sort $(wildcard $(SOURCE)/pricing/*.csv))
	awk -f $^ < /dev/null > $@.tmp
	mv $@.tmp $@

sql/record/usage_field_lines.sql: sql/record/usage_field.awk sql/record/usage_field.csv
	awk -f $^ < /dev/null > $@.tmp
	mv $@.tmp $@

else

help:
	@echo 'make demo         show a month of AI usage, priced, in a throwaway cluster'
	@echo 'make demo KEEP=1  the same, and leave the cluster running'
	@echo 'make dashboard    show the same month as a page (needs node 18 and npm; PORT=8765)'
	@echo 'make check        run every test in throwaway clusters'
	@echo 'make check TESTS="cost_exact quota_counting"'
	@echo '                  run these only; KEEP=/tmp/box keeps the sandbox for the next time'
	@echo 'make check-web    test the page in headless Chromium, where there is one'
	@echo 'make check-examples  test the examples with the packages of npm, and in Python'
	@echo 'make check-grafana  check the dashboards for Grafana, without Grafana'
	@echo 'make check-out    test what leaves the database: the relay of alerts, metrics'
	@echo 'make check-versions  the same on PostgreSQL 15, 17 and 18 (root; makes chroots)'
	@echo 'make check-hard   what takes long: see test/hard/run (SECONDS=60 COUNT=20000)'
	@echo 'make lint         read the source without running it: see test/lint'
	@echo 'make coverage     show which lines of C the tests run'
	@echo 'make attack       torture the counters for minutes, and see what grows (SECONDS=120 CLIENTS=32)'
	@echo 'make bench        measure within a quarter of an hour, into bench.txt (BENCH=FILE)'
	@echo 'make bench-compare compare bench.txt with the one before it (OLD=FILE: with another)'
	@echo 'make bench-scale  measure how cost grows with the ledger (SIZES="1000000 10000000")'
	@echo 'make differential compare costs with those of @pydantic/genai-prices (needs npm)'
	@echo 'make reference    write doc/reference anew'
	@echo 'make, make install, make installcheck, make clean'
	@echo '                  as with every extension; PG_CONFIG=... chooses the server'

demo:
	@test/sandbox demo/run

check:
	@test/run --names
	@COPT=-Werror DRIVERS=yes test/sandbox test/run

check-versions:
	@test/run --names
	@test/versions builds 15 16 17 18 upgrade

check-hard:
	@UM_SECONDS=$(SECONDS) UM_COUNT=$(COUNT) test/hard/run

lint:
	@test/lint

coverage:
	@test/run --names
	@COPT='--coverage -O0' test/sandbox test/coverage

check-web:
	@dashboards/web/test/setup
	@test/sandbox dashboards/web/test/check

check-examples:
	@test/sandbox examples/test/check

check-grafana:
	@test/sandbox dashboards/grafana/test/check

check-out:
	@test/sandbox examples/relay/check
	@test/sandbox dashboards/prometheus/test/check

# The page's packages and files, made where they stay.
dashboard:
	@dashboards/web/make
	@test/sandbox demo/dashboard

attack:
	@UM_SECONDS=$(SECONDS) UM_CLIENTS=$(CLIENTS) test/attack/run

# Within a quarter of an hour by these sizes; what it prints is kept, to be compared
# with what it printed before.
BENCH ?= bench.txt
OLD ?= $(BENCH).before
bench: export SECONDS_EACH ?= 4
bench: export ROUNDS ?= 2
bench: export ROWS ?= 500000
bench: export ROLLUP_ROWS ?= 1000000
bench: export CALLS ?= sessions
bench:
	@test/sandbox test/bench/all > $(BENCH).tmp
	@[ ! -e $(BENCH) ] || mv $(BENCH) $(BENCH).before
	@mv $(BENCH).tmp $(BENCH) && cat $(BENCH)

bench-compare:
	@test/bench/compare $(OLD) $(BENCH)

SIZES ?= 1000000
bench-scale:
	@test/sandbox test/bench/scale $(SIZES)

reference:
	@test/sandbox test/reference --tar > reference.tmp
	@tar -C doc/reference -xf reference.tmp && rm reference.tmp

differential:
	@test/sandbox test/differential

# Beside one of the goals above, the others are made by a make of their own,
# for PGXS has a "check" too.
OTHER_GOALS = $(filter-out $(OWN_GOALS),$(MAKECMDGOALS))
.PHONY: $(OTHER_GOALS)
$(OTHER_GOALS):
	@$(MAKE) $@

endif
