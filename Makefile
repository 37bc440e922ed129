# clearout: e-mail verification with the Clearout service, in the database.
#
#   make && sudo make install     build and install with the pg_config on PATH
#   make installcheck             against a running server that preloads clearout
#   test/check                    everything, on throw-away servers

EXTENSION   = clearout
# the script of each release, and those that lead from one to the next
DATA        = $(patsubst $(srcdir)/%,%,$(wildcard $(srcdir)/clearout--*.sql))
PGFILEDESC  = "clearout - e-mail verification with the Clearout service"

MODULE_big  = clearout

# Pure modules include no server header; test/unit runs them without a server.
PURE_OBJS   = src/address.o src/bulk_codec.o src/codec.o src/codec_find.o src/codec_json.o \
              src/codec_lookup.o src/codec_request.o src/credits.o src/csv.o src/csv_field.o src/csv_find.o src/csv_verify.o src/decide.o src/endpoint.o src/governor.o \
              src/headers.o src/hindrance.o src/http.o src/meter.o src/outcome.o src/plain_json.o src/price.o src/retry.o src/timestamp.o \
              src/utf8.o src/value.o src/verdict.o src/words.o
OBJS        = $(PURE_OBJS) \
              src/arguments.o src/ask.o src/bulk.o src/bulk_active.o src/bulk_backlog.o src/bulk_download.o src/bulk_file.o \
              src/bulk_import.o src/bulk_kind.o src/bulk_order.o src/bulk_progress.o src/bulk_rows.o src/bulk_spool.o src/bulk_table.o \
              src/bulk_tend.o src/bulk_upload.o src/import_new.o src/import_people.o src/import_results.o \
              src/bulk_wait.o src/catalog.o src/clearout.o src/convert.o src/defaults.o src/enqueue.o src/error.o \
              src/flight.o src/functions.o src/gate.o src/guc.o src/handlers.o src/hooks.o src/insert.o src/landed.o src/launcher.o \
              src/lookup.o src/makeway.o src/outbox.o src/outdated.o src/queue.o src/reactor.o \
              src/reactor_start.o src/remove.o src/session.o src/slots.o src/spending.o \
              src/find.o src/inquire.o src/keyscan.o src/lookups.o src/people.o src/seek.o src/spill.o src/stored.o src/store_lookups.o src/store_results.o \
              src/statement.o src/status.o src/store.o src/token.o \
              src/transaction.o src/usage.o src/verdict_jsonb.o src/watch.o src/worker.o \
              src/forget.o src/keys.o src/put.o src/queuekey.o src/queuescan.o src/queueshape.o src/row_by_row.o src/trigger.o src/triggeroptions.o src/walk.o

PG_CPPFLAGS = -I$(srcdir)/src -D_GNU_SOURCE
PG_CFLAGS   = -Wextra -Wno-unused-parameter -Wno-sign-compare \
              -Wno-missing-field-initializers -Wno-cast-function-type $(WERROR) $(SANITIZE)
SHLIB_LINK  = -lcurl -ljansson -lidn2 $(SANITIZE)

REGRESS        = install normalize settings permissions security report
REGRESS_OPTS   = --inputdir=$(srcdir) --load-extension=clearout
ENCODING       = UTF8
NO_LOCALE      = 1
ISOLATION      = enqueue forget lookup refresh verify
ISOLATION_OPTS = --inputdir=$(srcdir)/test --load-extension=clearout
TAP_TESTS      = 1
PROVE_TESTS    = $(srcdir)/test/t/*.pl
EXTRA_CLEAN    = test/unit/build test/sandbox/build test/benchmark/build

PG_CONFIG  ?= pg_config
PGXS       := $(shell $(PG_CONFIG) --pgxs)
srcdir     ?= .
include $(PGXS)

# A VPATH build has no src/ of its own yet.
$(shell mkdir -p src)

# The server's own headers decide the layout of everything here.
$(OBJS): $(wildcard $(srcdir)/src/*.h)
