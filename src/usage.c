/*-------------------------------------------------------------------------
 * usage.c
 *		What was asked and what it cost, per day of UTC, service and role.
 *
 * The table only grows at its end: a row that is updated with every commit
 * would be a chain of versions as long as an old snapshot lives, and somebody
 * could hold it locked.  Now and then the worker adds the rows of a day up,
 * and removes days that are too old.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "guc.h"
#include "insert.h"
#include "queue.h"
#include "usage.h"

/* What nobody has stored an answer with is written after so long. */
#define FLUSH_DELAY		INT64CONST(1000000)
#define FLUSH_RETRY		INT64CONST(10000000)

/* So many rows are added up. */
#define PARTS_MAX		1000

/* All bytes count: see entry_of(). */
typedef struct Key
{
	int32		day;
	int32		service;
	char		role[NAMEDATALEN];
} Key;

typedef enum Counter
{
	CALLS,
	VALID,
	INVALID,
	CATCH_ALL,
	UNKNOWN,
	OTHER,
	FAULTS,
	CREDITS,
	COUNTERS
} Counter;

typedef struct Entry
{
	Key			key;
	int64		count[COUNTERS];
} Entry;

/* What is not written yet. */
static HTAB *entries = NULL;
static int64 flush_at = 0;

/* The last joint transaction has failed: keep out of the others. */
static bool apart = false;
static bool left_out = false;	/* the table was locked at the last write */
static int	written = 0;		/* rows in the transaction that is open */
static int	parts = PARTS_MAX;	/* rows written since they were added up */
static int32 tidy_day = 0;		/* when that was */

int32
co_usage_today(void)
{
	return (int32) (GetCurrentTimestamp() / USECS_PER_DAY);
}

TimestampTz
co_usage_end_of_day(int32 day)
{
	return (day + 1) * USECS_PER_DAY;
}

/* That of the last answer, which is nearly always that of the next. */
static Entry *last_entry = NULL;

static Entry *
entry_of(int32 day, CoService service, const char *role)
{
	Key			key;
	Entry	   *entry;
	bool		found;

	if (last_entry != NULL && last_entry->key.day == day &&
		last_entry->key.service == service && strcmp(last_entry->key.role, role) == 0)
		return last_entry;
	if (entries == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(Key);
		control.entrysize = sizeof(Entry);
		control.hcxt = TopMemoryContext;
		entries = hash_create("clearout usage", 16, &control,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	memset(&key, 0, sizeof(key));
	key.day = day;
	key.service = service;
	strlcpy(key.role, role, sizeof(key.role));
	entry = hash_search(entries, &key, HASH_ENTER, &found);
	if (!found)
		memset(entry->count, 0, sizeof(entry->count));
	last_entry = entry;
	return entry;
}

static Counter
counter_of(const char *status)
{
	if (strcmp(status, "valid") == 0)
		return VALID;
	if (strcmp(status, "invalid") == 0)
		return INVALID;
	if (strcmp(status, "catch_all") == 0)
		return CATCH_ALL;
	if (strcmp(status, "unknown") == 0)
		return UNKNOWN;
	return OTHER;
}

void
co_usage_count(int32 day, CoService service, const char *role,
			   const char *status, bool sent, int credits)
{
	Entry	   *entry = entry_of(day, service, role);

	if (sent)
		entry->count[CALLS]++;
	entry->count[status == NULL ? FAULTS : counter_of(status)]++;
	entry->count[CREDITS] += credits;
	if (flush_at == 0)
		flush_at = co_clock() + FLUSH_DELAY;
}

void
co_usage_correct(int32 day, CoService service, const char *role, int credits)
{
	entry_of(day, service, role)->count[CREDITS] += credits;
	if (flush_at == 0)
		flush_at = co_clock() + FLUSH_DELAY;
}

/* ---------- writing ---------- */

#define COUNTER_COLUMNS \
	"calls, valid, invalid, catch_all, unknown, other, faults, credits"

/* A row as it is written; it gets its number, the second column, by default. */
#define PART_COLUMNS 13

static const Oid part_types[PART_COLUMNS] = {
	DATEOID, InvalidOid, TEXTOID, NAMEOID, INT8OID,
	INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID
};

/* Where it takes a statement. */
static const Oid put_types[PART_COLUMNS] = {
	DATEOID, INT8OID, TEXTOID, NAMEOID, INT8OID,
	INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID
};
static CoStatement put_part =
{CO_TABLE_USAGE, "INSERT INTO %s.clearout_usage_parts (day, service, role, origin, " COUNTER_COLUMNS ")"
	" VALUES ($1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
PART_COLUMNS, put_types, NULL, ""};

static const Oid day_types[] = {DATEOID, INT8OID};
static CoStatement add_up =
{CO_TABLE_USAGE, "WITH gone AS (DELETE FROM %s.clearout_usage_parts WHERE day >= $1 RETURNING *)"
	" INSERT INTO %s.clearout_usage_parts (day, service, role, origin, " COUNTER_COLUMNS ")"
	" SELECT day, service, role, origin, sum(calls), sum(valid), sum(invalid), sum(catch_all),"
	" sum(unknown), sum(other), sum(faults), sum(credits)"
	" FROM gone GROUP BY day, service, role, origin",
1, day_types, NULL, ""};

static CoStatement delete_old =
{CO_TABLE_USAGE, "DELETE FROM %s.clearout_usage_parts WHERE day < $1", 1, day_types, NULL, ""};

static CoStatement read_spent =
{CO_TABLE_USAGE, "SELECT role, sum(credits)::int8 FROM %s.clearout_usage_parts"
	" WHERE day = $1 AND origin = $2 GROUP BY role",
2, day_types, NULL, ""};

static Datum
role_datum(const char *role)
{
	return DirectFunctionCall1(namein, CStringGetDatum(role));
}

static void
write_entries(CoCatalog *catalog)
{
	HASH_SEQ_STATUS scan;
	Entry	   *entry;
	CoInserter *inserter;

	written = 0;
	left_out = entries == NULL || hash_get_num_entries(entries) == 0 ||
		!ConditionalLockRelationOid(catalog->usage, RowExclusiveLock);
	if (left_out)
		return;
	inserter = co_insert_begin(catalog->usage, part_types, PART_COLUMNS);
	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		Datum		values[PART_COLUMNS] = {0};		/* without a number */

		values[0] = DateADTGetDatum(entry->key.day);
		values[2] = CStringGetTextDatum(co_service_name(entry->key.service));
		values[3] = role_datum(entry->key.role);
		values[4] = Int64GetDatum(co_queue_origin());
		for (int i = 0; i < COUNTERS; i++)
			values[5 + i] = Int64GetDatum(entry->count[i]);
		written++;
		if (inserter != NULL && co_insert_add(inserter, values, " n           ", false))
			continue;
		if (inserter != NULL)
			co_insert_write(inserter);
		(void) co_execute(catalog, &put_part, values, " n           ");
	}
	if (inserter != NULL)
	{
		co_insert_write(inserter);
		co_insert_end(inserter);
	}
}

void
co_usage_write(CoCatalog *catalog)
{
	if (apart)
		left_out = true;
	else
		write_entries(catalog);
}

void
co_usage_written(void)
{
	HASH_SEQ_STATUS scan;
	Entry	   *entry;

	if (left_out)
		return;
	last_entry = NULL;
	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		(void) hash_search(entries, &entry->key, HASH_REMOVE, NULL);
	parts += written;
	flush_at = 0;
}

void
co_usage_write_apart(void)
{
	apart = true;
}

int64
co_usage_flush_at(void)
{
	return flush_at;
}

static void
flush_step(CoCatalog *catalog, void *argument)
{
	(void) argument;
	write_entries(catalog);
}

/* Yesterday as well: its last calls may have ended today. */
static void
tidy_step(CoCatalog *catalog, void *argument)
{
	Datum		day = DateADTGetDatum(tidy_day - 1);

	(void) argument;
	if (!ConditionalLockRelationOid(catalog->usage, RowExclusiveLock))
		return;
	(void) co_execute(catalog, &add_up, &day, " ");
	if (co_usage_days > 0)
	{
		day = DateADTGetDatum(tidy_day - co_usage_days);
		(void) co_execute(catalog, &delete_old, &day, " ");
	}
}

static void
tidy_up(void)
{
	CoTrouble	trouble;

	if (parts == 0 || (parts < PARTS_MAX && tidy_day == co_usage_today()))
		return;
	parts = 0;
	tidy_day = co_usage_today();
	if (!co_run(tidy_step, NULL, &trouble))
		ereport(LOG, (errmsg("clearout: clearout_usage_parts could not be added up: %s", trouble.message)));
}

void
co_usage_flush(void)
{
	CoTrouble	trouble;
	static bool complained = false;

	if (flush_at == 0)
		return;
	if (!co_run(flush_step, NULL, &trouble))
	{
		if (!complained)
			ereport(LOG, (errmsg("clearout: usage could not be written: %s", trouble.message)));
		complained = true;
		left_out = true;
	}
	co_usage_written();
	if (left_out)
	{
		flush_at = co_clock() + FLUSH_RETRY;
		return;
	}
	complained = false;
	apart = false;
}

void
co_usage_tend(void)
{
	if (flush_at != 0 && co_clock() >= flush_at)
		co_usage_flush();
	tidy_up();
}

/* ---------- reading ---------- */

typedef struct Reading
{
	int32		day;
	void		(*tell) (const char *role, int64 credits);
} Reading;

static void
read_step(CoCatalog *catalog, void *argument)
{
	Reading    *reading = argument;
	Datum		values[2];
	uint64		rows;

	values[0] = DateADTGetDatum(reading->day);
	values[1] = Int64GetDatum(co_queue_origin());
	rows = co_execute(catalog, &read_spent, values, "  ");
	if (SPI_gettypeid(SPI_tuptable->tupdesc, 1) != NAMEOID)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"clearout_usage_parts\" does not fit the library of the extension \"clearout\"")));
	for (uint64 i = 0; i < rows; i++)
	{
		bool		isnull;
		Datum		role = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		Datum		credits = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull);

		if (!isnull)
			reading->tell(NameStr(*DatumGetName(role)), DatumGetInt64(credits));
	}
}

bool
co_usage_read(int32 day, void (*tell) (const char *role, int64 credits),
			  char *reason, size_t reason_size)
{
	Reading		reading = {day, tell};
	CoTrouble	trouble;

	if (co_run(read_step, &reading, &trouble))
		return true;
	strlcpy(reason, trouble.message, reason_size);
	return false;
}
