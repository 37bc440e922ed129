/*-------------------------------------------------------------------------
 * bulk_table.c
 *		The worker's transactions on bulk jobs.
 *
 * Each is bounded: what concerns a list of a million rows is done a few
 * thousand at a time, with the worker's loop in between.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "bulk_kind.h"
#include "bulk_table.h"
#include "convert.h"
#include "find.h"
#include "guc.h"
#include "people.h"
#include "transaction.h"
#include "usage.h"

#define READ_ROWS	2000
#define DELETE_ROWS	5000

static const char *const state_words[] = {
	"spooled", "uploading", "running", "downloading", "stored", "done", "failed", "cancelled"
};

/* ---------- values ---------- */

static Datum
text_or_null(const char *text, char *null)
{
	*null = text[0] == '\0' ? 'n' : ' ';
	return text[0] == '\0' ? (Datum) 0 : CStringGetTextDatum(text);
}

/* A column of a row that SPI has read.  The table's owner may have changed it. */
static Datum
column(uint64 row, int number, Oid type, bool *isnull)
{
	if (SPI_gettypeid(SPI_tuptable->tupdesc, number) != type)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the tables of bulk jobs do not fit the library of the extension \"clearout\"")));
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, isnull);
}

static int64
int8_column(uint64 row, int number)
{
	bool		isnull;
	Datum		value = column(row, number, INT8OID, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static int
int4_column(uint64 row, int number)
{
	bool		isnull;
	Datum		value = column(row, number, INT4OID, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

static bool
bool_column(uint64 row, int number)
{
	bool		isnull;
	Datum		value = column(row, number, BOOLOID, &isnull);

	return !isnull && DatumGetBool(value);
}

static TimestampTz
time_column(uint64 row, int number)
{
	bool		isnull;
	Datum		value = column(row, number, TIMESTAMPTZOID, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

static void
text_column(uint64 row, int number, char *copy, size_t size)
{
	bool		isnull;
	Datum		value = column(row, number, TEXTOID, &isnull);

	copy[0] = '\0';
	if (!isnull)
		co_copy_text(copy, TextDatumGetCString(value), size);
}

/* ---------- loading ---------- */

#define PART_COLUMNS "p.job, p.part, p.state, p.rows, p.file_name, p.list_id, p.list_removed," \
	" p.held, p.cancel_sent, p.uploaded_at, p.percent, p.file_bytes, p.bytes_stored," \
	" p.rows_read, p.rows_answered, p.rows_undone, p.rows_broken, p.broken, p.rows_cleared," \
	" p.rows_unanswered, p.credits, p.attempts, p.error," \
	" j.kind, j.optimize, j.remove_list, j.from_queue, j.cancelled_at IS NOT NULL, j.created_at," \
	" j.requested_by::text"

/*
 * Whatever has begun, and then one of each kind and role after the other: whose
 * lists wait for credits, a budget or their turn must not hold up all others.
 */
static const Oid load_types[] = {INT8OID, INT4OID};
static CoStatement load_parts =
{CO_TABLE_JOBS, "SELECT " PART_COLUMNS " FROM %s.clearout_parts AS p"
	" JOIN %s.clearout_jobs_data AS j USING (job)"
	" WHERE p.state NOT IN ('done', 'failed', 'cancelled') AND j.origin = $1"
	" AND (NOT p.held OR j.cancelled_at IS NOT NULL)"
	" ORDER BY p.state = 'spooled', row_number() OVER (PARTITION BY p.state = 'spooled', j.kind, j.requested_by"
	" ORDER BY p.job, p.part), p.job, p.part LIMIT $2", 2, load_types, NULL, ""};

static CoStatement next_removal =
{CO_TABLE_JOBS, "SELECT " PART_COLUMNS " FROM %s.clearout_parts AS p"
	" JOIN %s.clearout_jobs_data AS j USING (job)"
	" WHERE j.removed_at IS NOT NULL AND j.origin = $1"
	" AND p.list_id IS NOT NULL AND NOT p.list_removed LIMIT $2", 2, load_types, NULL, ""};

static CoPartState
state_of(const char *word)
{
	for (int i = 0; i < lengthof(state_words); i++)
	{
		if (strcmp(word, state_words[i]) == 0)
			return (CoPartState) i;
	}
	return CO_PART_FAILED;		/* the table has a check on it */
}

static void
read_part(uint64 row, CoPart *part)
{
	char		word[32];

	memset(part, 0, sizeof(*part));
	part->job = int8_column(row, 1);
	part->part = int4_column(row, 2);
	text_column(row, 3, word, sizeof(word));
	part->state = state_of(word);
	part->rows = int4_column(row, 4);
	text_column(row, 5, part->file_name, sizeof(part->file_name));
	text_column(row, 6, part->list_id, sizeof(part->list_id));
	part->list_removed = bool_column(row, 7);
	part->held = bool_column(row, 8);
	part->cancel_sent = bool_column(row, 9);
	part->uploaded_at = time_column(row, 10);
	part->percent = int4_column(row, 11);
	part->file_bytes = int8_column(row, 12);
	part->bytes_stored = int8_column(row, 13);
	part->rows_read = int8_column(row, 14);
	part->rows_answered = int8_column(row, 15);
	part->rows_undone = int8_column(row, 16);
	part->rows_broken = int8_column(row, 17);
	text_column(row, 18, part->broken, sizeof(part->broken));
	part->rows_cleared = int4_column(row, 19);
	part->rows_unanswered = int4_column(row, 20);
	part->credits = int8_column(row, 21);
	part->attempts = int4_column(row, 22);
	text_column(row, 23, part->error, sizeof(part->error));
	text_column(row, 24, word, sizeof(word));
	part->kind = co_bulk_kind(word);
	text_column(row, 25, part->optimize, sizeof(part->optimize));
	part->remove_list = bool_column(row, 26);
	part->from_queue = bool_column(row, 27);
	part->cancelled = bool_column(row, 28);
	part->created_at = time_column(row, 29);
	text_column(row, 30, part->role, sizeof(part->role));
}

typedef struct Loading
{
	int			max;
	int			count;
	CoPart	   *parts;
} Loading;

static void
load_step(CoCatalog *catalog, void *argument)
{
	Loading    *loading = argument;
	Datum		values[2] = {Int64GetDatum(co_queue_origin()), Int32GetDatum(loading->max)};
	uint64		count = co_execute(catalog, &load_parts, values, "  ");

	for (loading->count = 0; loading->count < count; loading->count++)
		read_part(loading->count, &loading->parts[loading->count]);
}

bool
co_bulk_load(int max, CoPart **parts, int *count, CoTrouble *trouble)
{
	Loading    *loading = palloc0(sizeof(Loading));
	bool		good;

	loading->max = max;
	loading->parts = palloc(max * sizeof(CoPart));
	good = co_run(load_step, loading, trouble);
	*parts = loading->parts;
	*count = good ? loading->count : 0;
	return good;
}

/* ---------- saving ---------- */

static const Oid save_types[] = {
	INT8OID, INT4OID, TEXTOID, INT4OID, TEXTOID, TEXTOID, BOOLOID, BOOLOID, BOOLOID,
	TIMESTAMPTZOID, INT4OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID,
	INT4OID, INT4OID, INT8OID, INT4OID, TEXTOID
};
static CoStatement save_part =
{CO_TABLE_JOBS, "UPDATE %s.clearout_parts SET changed_at = CASE state WHEN $3 THEN changed_at ELSE now() END,"
	" state = $3, rows = $4, file_name = $5, list_id = $6, list_removed = $7, held = $8,"
	" cancel_sent = $9, uploaded_at = $10, percent = $11, file_bytes = $12, bytes_stored = $13,"
	" rows_read = $14, rows_answered = $15, rows_undone = $16, rows_broken = $17, broken = $18,"
	" rows_cleared = $19, rows_unanswered = $20, credits = $21, attempts = $22, error = $23"
	" WHERE job = $1 AND part = $2", 23, save_types, NULL, ""};

static const Oid one_job[] = {INT8OID};
static CoStatement finish_job =
{CO_TABLE_JOBS, "UPDATE %s.clearout_jobs_data AS j SET finished_at = now()"
	" WHERE j.job = $1 AND j.finished_at IS NULL AND NOT EXISTS"
	" (SELECT FROM %s.clearout_parts AS p WHERE p.job = $1"
	" AND p.state NOT IN ('done', 'failed', 'cancelled'))", 1, one_job, NULL, ""};

static void
write_part(CoCatalog *catalog, const CoPart *part)
{
	Datum		values[23];
	char		nulls[24] = "                       ";

	values[0] = Int64GetDatum(part->job);
	values[1] = Int32GetDatum(part->part);
	values[2] = CStringGetTextDatum(state_words[part->state]);
	values[3] = Int32GetDatum(part->rows);
	values[4] = text_or_null(part->file_name, &nulls[4]);
	values[5] = text_or_null(part->list_id, &nulls[5]);
	values[6] = BoolGetDatum(part->list_removed);
	values[7] = BoolGetDatum(part->held);
	values[8] = BoolGetDatum(part->cancel_sent);
	values[9] = TimestampTzGetDatum(part->uploaded_at);
	nulls[9] = part->uploaded_at == 0 ? 'n' : ' ';
	values[10] = Int32GetDatum(part->percent);
	values[11] = Int64GetDatum(part->file_bytes);
	nulls[11] = part->file_bytes == 0 ? 'n' : ' ';
	values[12] = Int64GetDatum(part->bytes_stored);
	values[13] = Int64GetDatum(part->rows_read);
	values[14] = Int64GetDatum(part->rows_answered);
	values[15] = Int64GetDatum(part->rows_undone);
	values[16] = Int64GetDatum(part->rows_broken);
	values[17] = text_or_null(part->broken, &nulls[17]);
	values[18] = Int32GetDatum(part->rows_cleared);
	values[19] = Int32GetDatum(part->rows_unanswered);
	values[20] = Int64GetDatum(part->credits);
	values[21] = Int32GetDatum(part->attempts);
	values[22] = text_or_null(part->error, &nulls[22]);
	(void) co_execute(catalog, &save_part, values, nulls);
	if (co_part_is_final(part->state))
		(void) co_execute(catalog, &finish_job, values, " ");
}

static void
save_step(CoCatalog *catalog, void *argument)
{
	const CoPart *part = argument;

	write_part(catalog, part);
	/* nobody will look at the part again to count its credits */
	if (co_part_is_final(part->state))
		co_usage_write(catalog);
}

bool
co_bulk_save(const CoPart *part, CoTrouble *trouble)
{
	bool		good = co_run(save_step, (void *) part, trouble);

	if (co_part_is_final(part->state))
	{
		if (good)
			co_usage_written();
		else
			co_usage_write_apart();
	}
	return good;
}

/* ---------- the spool ---------- */

typedef struct Stretch
{
	const CoPart *part;
	CoPart	   *changed;
	int			from;
	int			to;
	int			count;
	StringInfo	csv;
	bool		due;
} Stretch;

static const Oid prune_types[] = {INT8OID, INT4OID, INT4OID, INT4OID, TIMESTAMPTZOID};

#define PRUNE(answered) \
	{CO_TABLE_JOBS, "DELETE FROM %s.clearout_spool AS s WHERE s.job = $1 AND s.part = $2" \
	" AND s.position > $3 AND s.position <= $4 AND EXISTS (SELECT FROM " answered " >= $5)", \
	5, prune_types, NULL, ""}

static CoStatement prune_spool[CO_BULK_KINDS] = {
	[CO_BULK_VERIFY] = PRUNE("%s.clearout_results AS r WHERE r.email = s.asked"
							 " AND greatest(r.verified_at, r.asked_at)"),
	[CO_BULK_FIND] = PRUNE("%s.clearout_people AS r WHERE r.asked_name = " CO_ASKED_NAME("s.asked")
						   " AND r.asked_domain = " CO_ASKED_DOMAIN("s.asked")
						   " AND greatest(r.found_at, r.asked_at)")
};

static const Oid fewer_types[] = {INT8OID, INT4OID, INT4OID};
static CoStatement fewer_rows =
{CO_TABLE_JOBS, "WITH part AS (UPDATE %s.clearout_parts SET rows = rows - $3 WHERE job = $1 AND part = $2)"
	" UPDATE %s.clearout_jobs_data SET rows_fresh = rows_fresh + $3, rows_spooled = rows_spooled - $3"
	" WHERE job = $1", 3, fewer_types, NULL, ""};

static void
prune_step(CoCatalog *catalog, void *argument)
{
	Stretch    *stretch = argument;
	Datum		values[5];

	values[0] = Int64GetDatum(stretch->part->job);
	values[1] = Int32GetDatum(stretch->part->part);
	values[2] = Int32GetDatum(stretch->from);
	values[3] = Int32GetDatum(stretch->to);
	values[4] = TimestampTzGetDatum(stretch->part->created_at);
	stretch->count = (int) co_execute(catalog, &prune_spool[stretch->part->kind], values, "     ");
	if (stretch->count > 0)
	{
		values[2] = Int32GetDatum(stretch->count);
		(void) co_execute(catalog, &fewer_rows, values, "   ");
	}
}

bool
co_bulk_prune(const CoPart *part, int from, int to, int *removed, CoTrouble *trouble)
{
	Stretch		stretch = {part, NULL, from, to, 0, NULL};
	bool		good = co_run(prune_step, &stretch, trouble);

	*removed = good ? stretch.count : 0;
	return good;
}

static const Oid read_types[] = {INT8OID, INT4OID, INT4OID, INT4OID};
static CoStatement read_spool =
{CO_TABLE_JOBS, "SELECT s.position, s.asked FROM %s.clearout_spool AS s"
	" WHERE s.job = $1 AND s.part = $2 AND s.position > $3 ORDER BY s.position LIMIT $4",
4, read_types, NULL, ""};

static void
read_step(CoCatalog *catalog, void *argument)
{
	Stretch    *stretch = argument;
	const CoBulkRules *rules = &co_bulk_rules[stretch->part->kind];
	Datum		values[4];

	values[0] = Int64GetDatum(stretch->part->job);
	values[1] = Int32GetDatum(stretch->part->part);
	values[2] = Int32GetDatum(stretch->from);
	values[3] = Int32GetDatum(READ_ROWS);
	stretch->count = (int) co_execute(catalog, &read_spool, values, "    ");
	for (int i = 0; i < stretch->count; i++)
	{
		bool		isnull;
		text	   *asked = DatumGetTextPP(column(i, 2, TEXTOID, &isnull));

		rules->write(stretch->csv, co_text_to_utf8(VARDATA_ANY(asked), VARSIZE_ANY_EXHDR(asked)));
		stretch->to = int4_column(i, 1);
	}
}

bool
co_bulk_read(const CoPart *part, int *position, StringInfo csv, int *count, CoTrouble *trouble)
{
	Stretch		stretch = {part, NULL, *position, *position, 0, csv};
	int			length = csv->len;

	if (!co_run(read_step, &stretch, trouble))
	{
		csv->len = length;
		return false;
	}
	*position = stretch.to;
	*count = stretch.count;
	return true;
}

/*
 * Answers to a list count as asked when it was uploaded.  Rows of the queue
 * that somebody has locked are left as they are: they are due by themselves,
 * a little later.
 */
#define WAITS_FOR_LIST "it waits for the answer of a bulk job"

/* An answer that was asked for since the upload began is one to it. */
#define STRETCH "s.job = $1 AND s.part = $2 AND s.position > $3 AND s.position <= $4"
#define ANSWERED \
	"(EXISTS (SELECT FROM %s.clearout_results AS r WHERE r.email = s.asked" \
	" AND greatest(r.asked_at, r.attempted_at) >= $5)" \
	" OR EXISTS (SELECT FROM %s.clearout_spill AS r WHERE r.email = s.asked" \
	" AND greatest(r.asked_at, r.attempted_at) >= $5))"
#define FOUND \
	"(EXISTS (SELECT FROM %s.clearout_people AS r WHERE r.asked_name = " CO_ASKED_NAME("s.asked") \
	" AND r.asked_domain = " CO_ASKED_DOMAIN("s.asked") " AND r.asked_at >= $5)" \
	" OR EXISTS (SELECT FROM %s.clearout_lookup_spill AS r WHERE r.kind = '" CO_FIND_KIND "'" \
	" AND r.key = s.asked AND r.asked_at >= $5))"

static const Oid stretch_types[] = {INT8OID, INT4OID, INT4OID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, NAMEOID};

#define CLEAR(answered) \
	{CO_TABLE_JOBS, "DELETE FROM %s.clearout_spool AS s WHERE " STRETCH " AND " answered, \
	5, stretch_types, NULL, ""}

static CoStatement clear_answered[CO_BULK_KINDS] = {
	[CO_BULK_VERIFY] = CLEAR(ANSWERED),
	[CO_BULK_FIND] = CLEAR(FOUND)
};

static CoStatement give_back =
{CO_TABLE_JOBS, "WITH gone AS (DELETE FROM %s.clearout_spool AS s WHERE " STRETCH " AND $5 = $5 RETURNING s.asked)"
	" INSERT INTO %s.clearout_queue (email, accepts_since, requested_by, last_error)"
	" SELECT gone.asked, $6, $7, 'a bulk job has brought no answer' FROM gone",
7, stretch_types, NULL, ""};

/* By what is asked: the sum keeps the planner off the index on the times. */
#define MAKE_DUE(same) \
	{CO_TABLE_JOBS, "UPDATE %s.clearout_queue AS q SET next_attempt_at = now() WHERE (q.priority, q.id) IN" \
	" (SELECT k.priority, k.id FROM %s.clearout_spool AS s JOIN %s.clearout_queue AS k ON " same \
	" WHERE " STRETCH " AND $5 = $5 AND k.failed_at IS NULL AND k.last_error = '" WAITS_FOR_LIST "'" \
	" AND k.next_attempt_at - now() > '0' FOR UPDATE OF k SKIP LOCKED)", \
	5, stretch_types, NULL, ""}

static CoStatement make_due[CO_BULK_KINDS] = {
	[CO_BULK_VERIFY] = MAKE_DUE("k.email = s.asked"),
	[CO_BULK_FIND] = MAKE_DUE("k.email IS NULL AND k.name = " CO_ASKED_NAME("s.asked")
							  " AND k.domain = " CO_ASKED_DOMAIN("s.asked"))
};

static void
clear_step(CoCatalog *catalog, void *argument)
{
	Stretch    *stretch = argument;
	const CoPart *part = stretch->part;
	int			unanswered;
	Datum		values[7];

	values[0] = Int64GetDatum(part->job);
	values[1] = Int32GetDatum(part->part);
	values[2] = Int32GetDatum(stretch->from);
	values[3] = Int32GetDatum(stretch->to);
	/* never uploaded: then nothing is answered by it */
	values[4] = TimestampTzGetDatum(part->uploaded_at != 0 ? part->uploaded_at : DT_NOEND);
	values[5] = TimestampTzGetDatum(part->created_at);
	values[6] = DirectFunctionCall1(namein, CStringGetDatum(part->role));
	stretch->due = co_execute(catalog, &make_due[part->kind], values, "     ") > 0;
	unanswered = stretch->count - (int) co_execute(catalog, &clear_answered[part->kind], values, "     ");
	if (part->from_queue && unanswered > 0)
		stretch->due |= co_execute(catalog, &give_back, values, "       ") > 0;
	*stretch->changed = *part;
	stretch->changed->rows_unanswered += unanswered;
	stretch->changed->rows_cleared = stretch->to;
	write_part(catalog, stretch->changed);
}

bool
co_bulk_clear(CoPart *part, int to, int rows, bool *due, CoTrouble *trouble)
{
	CoPart	   *changed = palloc(sizeof(CoPart));
	Stretch		stretch = {part, changed, part->rows_cleared, to, rows, NULL};
	bool		good = co_run(clear_step, &stretch, trouble);

	*due = good && stretch.due;
	if (good)
		*part = *changed;
	pfree(changed);
	return good;
}

/* ---------- answers ---------- */

typedef struct Storing
{
	CoImport   *import;
	int			from;
	int			to;
	int			record;
	const CoPart *part;
	bool		spill;
	const char *note;
} Storing;

/*
 * Only what the list has: an address may have been forgotten since it was
 * sent, and the service may speak of others.
 *
 * The sums keep the planner from the primary key.  It knows little of a spool
 * that was just filled, and would read all rows of the part for each address.
 */
static const Oid unasked_types[] = {TEXTARRAYOID, INT8OID, INT4OID};
static CoStatement unasked_rows =
{CO_TABLE_JOBS, "SELECT k.number::integer FROM unnest($1) WITH ORDINALITY AS k (asked, number)"
	" WHERE NOT EXISTS (SELECT FROM %s.clearout_spool AS s"
	" WHERE s.asked = k.asked COLLATE \"C\" AND s.job + 0 = $2 AND s.part + 0 = $3)",
3, unasked_types, NULL, ""};

static void
leave_out_unasked(CoCatalog *catalog, CoImport *import, int from, int to)
{
	Datum	   *keys = palloc(Max(to - from, 1) * sizeof(Datum));
	Datum		values[3];
	uint64		found;

	for (int i = from; i < to; i++)
	{
		import->row[i].unasked = false;
		keys[i - from] = CStringGetTextDatum(import->row[i].key);
	}
	values[0] = PointerGetDatum(construct_array(keys, to - from, TEXTOID, -1, false, TYPALIGN_INT));
	values[1] = Int64GetDatum(import->job);
	values[2] = Int32GetDatum(import->part);
	found = co_execute(catalog, &unasked_rows, values, "   ");
	for (uint64 i = 0; i < found; i++)
	{
		int			number = int4_column(i, 1);

		if (number >= 1 && number <= to - from)
			import->row[from + number - 1].unasked = true;
	}
}

static void
store_step(CoCatalog *catalog, void *argument)
{
	Storing    *storing = argument;

	/* What is found about a person has no address to go by. */
	if (storing->import->kind == &co_results_import)
		leave_out_unasked(catalog, storing->import, storing->from, storing->to);
	if (storing->spill)
		co_import_spill(catalog, storing->import, storing->from, storing->to, storing->note);
	else
		co_import_store(catalog, storing->import, storing->from, storing->to);
	if (storing->part != NULL)
		write_part(catalog, storing->part);
}

bool
co_bulk_store(CoImport *import, int from, int to, const CoPart *part, bool spill,
			  const char *note, CoTrouble *trouble)
{
	Storing		storing = {import, from, to, 0, part, spill, note};

	return co_run(store_step, &storing, trouble);
}

static void
parse_step(CoCatalog *catalog, void *argument)
{
	co_import_parse(catalog, argument);
}

bool
co_bulk_parse(CoImport *import, CoTrouble *trouble)
{
	return co_run(parse_step, import, trouble);
}

static void
check_step(CoCatalog *catalog, void *argument)
{
	Storing    *storing = argument;

	co_import_check(catalog, storing->import, storing->record);
}

bool
co_bulk_check(CoImport *import, int record, CoTrouble *trouble)
{
	Storing		storing = {import, 0, 0, record, NULL, false, NULL};

	return co_run(check_step, &storing, trouble);
}

/* ---------- forgetting ---------- */

static const Oid origin_type[] = {INT8OID, INT4OID};
static CoStatement removed_job =
{CO_TABLE_JOBS, "SELECT job FROM %s.clearout_jobs_data WHERE removed_at IS NOT NULL"
	" AND origin = $1 LIMIT $2", 2, origin_type, NULL, ""};

/* Of one job, by key: the spool may be full of the rows of others. */
static CoStatement delete_spool =
{CO_TABLE_JOBS, "DELETE FROM %s.clearout_spool WHERE (job, part, position) IN"
	" (SELECT s.job, s.part, s.position FROM %s.clearout_spool AS s WHERE s.job = $1 LIMIT $2)",
2, origin_type, NULL, ""};

static CoStatement delete_job =
{CO_TABLE_JOBS, "WITH parts AS (DELETE FROM %s.clearout_parts WHERE job = $1)"
	" DELETE FROM %s.clearout_jobs_data WHERE job = $1", 1, origin_type, NULL, ""};

typedef struct Removing
{
	CoPart	   *part;
	bool		list;
	bool		busy;
} Removing;

static void
removal_step(CoCatalog *catalog, void *argument)
{
	Removing   *removing = argument;
	Datum		values[2] = {Int64GetDatum(co_queue_origin()), Int32GetDatum(1)};

	removing->list = co_execute(catalog, &next_removal, values, "  ") > 0;
	if (removing->list)
		read_part(0, removing->part);
	else if (co_execute(catalog, &removed_job, values, "  ") > 0)
	{
		values[0] = Int64GetDatum(int8_column(0, 1));
		values[1] = Int32GetDatum(DELETE_ROWS);
		if (co_execute(catalog, &delete_spool, values, "  ") == 0)
			(void) co_execute(catalog, &delete_job, values, " ");
		removing->busy = true;
	}
}

bool
co_bulk_removals(CoPart *part, bool *list, bool *busy, CoTrouble *trouble)
{
	Removing	removing = {part, false, false};
	bool		good = co_run(removal_step, &removing, trouble);

	*list = good && removing.list;
	*busy = good && removing.busy;
	return good;
}

static const Oid part_types[] = {INT8OID, INT4OID};
static CoStatement mark_removed =
{CO_TABLE_JOBS, "UPDATE %s.clearout_parts SET list_removed = true WHERE job = $1 AND part = $2",
2, part_types, NULL, ""};

static void
removed_step(CoCatalog *catalog, void *argument)
{
	const CoPart *part = argument;
	Datum		values[2] = {Int64GetDatum(part->job), Int32GetDatum(part->part)};

	(void) co_execute(catalog, &mark_removed, values, "  ");
}

bool
co_bulk_list_removed(const CoPart *part, CoTrouble *trouble)
{
	return co_run(removed_step, (void *) part, trouble);
}

/* Lists at the service are left to its own retention. */
static const Oid retire_types[] = {TIMESTAMPTZOID, INT8OID};
static CoStatement retire_jobs =
{CO_TABLE_JOBS, "WITH old AS (UPDATE %s.clearout_jobs_data SET removed_at = now()"
	" WHERE finished_at < $1 AND removed_at IS NULL AND origin = $2 RETURNING job)"
	" UPDATE %s.clearout_parts AS p SET list_removed = true FROM old WHERE p.job = old.job",
2, retire_types, NULL, ""};

static CoStatement oldest_job =
{CO_TABLE_JOBS, "SELECT j.finished_at FROM %s.clearout_jobs_data AS j"
	" WHERE j.finished_at IS NOT NULL AND j.removed_at IS NULL AND j.origin = $2 AND $1 = $1"
	" ORDER BY j.finished_at LIMIT 1", 2, retire_types, NULL, ""};

static void
retire_step(CoCatalog *catalog, void *argument)
{
	TimestampTz *next = argument;
	int64		age = (int64) co_bulk_retention * USECS_PER_SEC;
	Datum		values[2] = {TimestampTzGetDatum(GetCurrentTimestamp() - age), Int64GetDatum(co_queue_origin())};

	(void) co_execute(catalog, &retire_jobs, values, "  ");
	*next = co_execute(catalog, &oldest_job, values, "  ") > 0 ? time_column(0, 1) + age : DT_NOEND;
}

bool
co_bulk_retire(TimestampTz *next, CoTrouble *trouble)
{
	*next = DT_NOEND;
	trouble->sqlstate = 0;
	return co_bulk_retention < 0 || co_run(retire_step, next, trouble);
}

/* ---------- the queue ---------- */

static const Oid waiting_types[] = {TEXTARRAYOID, INT8OID, TEXTOID};
static CoStatement waiting_rows =
{CO_TABLE_JOBS, "SELECT k.number::integer FROM unnest($1) WITH ORDINALITY AS k (asked, number)"
	" WHERE EXISTS (SELECT FROM %s.clearout_spool AS s"
	" JOIN %s.clearout_parts AS p USING (job, part)"
	" JOIN %s.clearout_jobs_data AS j USING (job)"
	" WHERE s.asked = k.asked COLLATE \"C\" AND j.kind = $3 AND j.origin = $2"
	" AND p.state NOT IN ('done', 'failed', 'cancelled') AND NOT p.held AND j.cancelled_at IS NULL)",
3, waiting_types, NULL, ""};

static const Oid set_back_types[] = {INT4ARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID};
/* What somebody has locked stays due, and is met again. */
static CoStatement set_back_rows =
{CO_TABLE_QUEUE, "UPDATE %s.clearout_queue SET next_attempt_at = $3,"
	" last_error = '" WAITS_FOR_LIST "'"
	" WHERE (priority, id) IN (SELECT q.priority, q.id FROM unnest($1, $2) AS k (priority, id)"
	" JOIN %s.clearout_queue AS q USING (priority, id) FOR UPDATE OF q SKIP LOCKED)",
3, set_back_types, NULL, ""};

typedef struct SetBack
{
	const char *kind;
	const CoQueueRow *rows;
	int			count;
	TimestampTz until;
	bool	   *waits;
} SetBack;

static void
set_back_step(CoCatalog *catalog, void *argument)
{
	SetBack    *set_back = argument;
	int			count = set_back->count;
	Datum	   *keys = palloc(count * sizeof(Datum));
	Datum	   *ids = palloc(count * sizeof(Datum));
	Datum		values[3];
	uint64		found;
	int			waiting = 0;

	memset(set_back->waits, 0, count * sizeof(bool));
	/* a search that goes on at the service is asked about all the same */
	for (int i = 0; i < count; i++)
	{
		const CoQueueRow *row = &set_back->rows[i];

		keys[i] = CStringGetTextDatum(row->key && row->queue_id == NULL ? row->key : "");
	}
	values[0] = PointerGetDatum(construct_array(keys, count, TEXTOID, -1, false, TYPALIGN_INT));
	values[1] = Int64GetDatum(co_queue_origin());
	values[2] = CStringGetTextDatum(set_back->kind);
	found = co_execute(catalog, &waiting_rows, values, "   ");
	for (uint64 i = 0; i < found; i++)
	{
		int			number = int4_column(i, 1);

		if (number >= 1 && number <= count && !set_back->waits[number - 1])
		{
			set_back->waits[number - 1] = true;
			keys[waiting] = Int32GetDatum(set_back->rows[number - 1].priority);
			ids[waiting++] = Int64GetDatum(set_back->rows[number - 1].id);
		}
	}
	if (waiting == 0)
		return;
	values[0] = PointerGetDatum(construct_array(keys, waiting, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	values[1] = PointerGetDatum(construct_array(ids, waiting, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[2] = TimestampTzGetDatum(set_back->until);
	(void) co_execute(catalog, &set_back_rows, values, "   ");
}

bool
co_bulk_set_back(CoQueueKind kind, const CoQueueRow *rows, int count, TimestampTz until,
				 bool *waits, CoTrouble *trouble)
{
	const CoBulkRules *rules = &co_bulk_rules[kind == CO_QUEUE_FIND ? CO_BULK_FIND : CO_BULK_VERIFY];
	SetBack		set_back = {rules->word, rows, count, until, waits};

	return co_run(set_back_step, &set_back, trouble);
}

static const Oid backlog_types[] = {INT8OID, INT4OID};
static CoStatement count_backlog =
{CO_TABLE_QUEUE, "SELECT count(*)::integer FROM (SELECT FROM %s.clearout_queue AS q"
	" WHERE q.email IS NOT NULL AND q.origin = $1 AND q.failed_at IS NULL AND q.next_attempt_at IS NULL"
	" AND q.priority <= 0 LIMIT $2) AS b", 2, backlog_types, NULL, ""};

static void
backlog_step(CoCatalog *catalog, void *argument)
{
	int		   *count = argument;
	Datum		values[2] = {Int64GetDatum(co_queue_origin()), Int32GetDatum(*count)};

	(void) co_execute(catalog, &count_backlog, values, "  ");
	*count = int4_column(0, 1);
}

bool
co_bulk_backlog(int limit, int *count, CoTrouble *trouble)
{
	*count = limit;
	return co_run(backlog_step, count, trouble);
}

static const Oid new_job_types[] = {NAMEOID};
static CoStatement new_queue_job =
{CO_TABLE_JOBS, "WITH j AS (INSERT INTO %s.clearout_jobs_data (from_queue, requested_by) VALUES (true, $1) RETURNING job),"
	" p AS (INSERT INTO %s.clearout_parts (job, part, rows) SELECT job, 1, 0 FROM j)"
	" SELECT job FROM j", 1, new_job_types, NULL, ""};

static const Oid move_types[] = {TEXTARRAYOID, INT8OID, INT8OID};
static CoStatement move_rows =
{CO_TABLE_JOBS, "WITH given AS (SELECT DISTINCT u.asked COLLATE \"C\" AS asked FROM unnest($1) AS u (asked)),"
	" placed AS (INSERT INTO %s.clearout_spool (job, part, position, asked)"
	" SELECT $2, 1, row_number() OVER (ORDER BY g.asked)"
	" + (SELECT coalesce(max(s.position), 0) FROM %s.clearout_spool AS s WHERE s.job = $2 AND s.part = 1), g.asked"
	" FROM given AS g WHERE NOT EXISTS (SELECT FROM %s.clearout_spool AS s"
	" JOIN %s.clearout_parts AS p USING (job, part) JOIN %s.clearout_jobs_data AS j USING (job)"
	" WHERE s.asked = g.asked AND j.kind = 'verify' AND j.origin = $3 AND j.cancelled_at IS NULL"
	" AND NOT p.held AND p.state NOT IN ('done', 'failed', 'cancelled')) RETURNING 1),"
	" n AS (SELECT count(*)::integer AS count FROM placed),"
	" part AS (UPDATE %s.clearout_parts SET rows = rows + n.count FROM n WHERE job = $2 AND part = 1),"
	" job AS (UPDATE %s.clearout_jobs_data SET rows_total = rows_total + n.count,"
	" rows_spooled = rows_spooled + n.count FROM n WHERE job = $2)"
	" SELECT count FROM n", 3, move_types, NULL, ""};

typedef struct Moving
{
	const CoQueueRow *rows;
	int			count;
	const char *role;
	int64		job;
	int			moved;
} Moving;

static void
move_step(CoCatalog *catalog, void *argument)
{
	Moving	   *moving = argument;
	Datum	   *keys = palloc(moving->count * sizeof(Datum));
	Datum		values[3];

	if (moving->job == 0)
	{
		values[0] = DirectFunctionCall1(namein, CStringGetDatum(moving->role));
		(void) co_execute(catalog, &new_queue_job, values, " ");
		moving->job = int8_column(0, 1);
	}
	for (int i = 0; i < moving->count; i++)
		keys[i] = CStringGetTextDatum(moving->rows[i].key);
	values[0] = PointerGetDatum(construct_array(keys, moving->count, TEXTOID, -1, false, TYPALIGN_INT));
	values[1] = Int64GetDatum(moving->job);
	values[2] = Int64GetDatum(co_queue_origin());
	(void) co_execute(catalog, &move_rows, values, "   ");
	moving->moved = int4_column(0, 1);
	co_queue_delete(catalog, moving->rows, moving->count);
}

bool
co_bulk_move(const CoQueueRow *rows, int count, const char *role, int64 *job,
			 int *rows_moved, CoTrouble *trouble)
{
	Moving		moving = {rows, count, role, *job, 0};

	if (!co_run(move_step, &moving, trouble))
		return false;
	*job = moving.job;
	*rows_moved = moving.moved;
	return true;
}
