/*-------------------------------------------------------------------------
 * bulk_import.c
 *		Result files into answers, a batch of rows at a time.
 *
 *		bytes --csv.c--> records --valid, in our encoding--> COPY's reader
 *			--> fields --csv.c--> words --> rows, sorted, each key once
 *			--> one INSERT ... ON CONFLICT
 *
 * COPY ends at the first byte that is not valid, and at the first record that
 * it cannot read.  So records are found before, made valid, and handed over
 * a batch at a time; where COPY throws all the same, the caller looks for the
 * record that makes it do so.
 *
 * The rows reach the statements as a named tuplestore, as the rows of a
 * statement reach its triggers: no staging table is written, no array is
 * taken apart.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tupdesc.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/copy.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_node.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "arguments.h"
#include "bulk_import.h"
#include "convert.h"
#include "outbox.h"
#include "worker.h"

#define ROWS_NAME "clearout_import_rows"

/* ---------- the file ---------- */

CoImport *
co_import_begin(const char *source, TimestampTz asked_at, TimestampTz verified_at,
				int64 skip)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "clearout import",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	CoImport   *import = palloc0(sizeof(CoImport));

	import->source = source;
	import->asked_at = asked_at;
	import->verified_at = verified_at;
	import->skip = skip;
	import->delimiter = ',';
	import->context = context;
	import->batch = AllocSetContextCreate(context, "clearout import batch",
										  ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&import->data);
	import->ends = palloc(CO_IMPORT_ROWS * sizeof(int));
	import->bad = palloc(CO_IMPORT_ROWS * sizeof(bool));
	MemoryContextSwitchTo(old);
	return import;
}

void
co_import_end(CoImport *import)
{
	MemoryContextDelete(import->context);
}

void
co_import_feed(CoImport *import, const char *data, size_t length)
{
	/* what has been read makes room */
	if (import->at > 0)
	{
		memmove(import->data.data, import->data.data + import->at, import->data.len - import->at);
		import->data.len -= import->at;
		import->offset += import->at;
		import->at = 0;
	}
	appendBinaryStringInfo(&import->data, data, length);
}

/* The record as the database can have it, with a line's end. */
static void
add_record(CoImport *import, const char *record, size_t length)
{
	size_t		used;

	enlargeStringInfo(&import->text, 3 * length + 2);
	used = co_csv_mend(record, length, import->text.data + import->text.len);
	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII)
		import->text.len += used;
	else
	{
		char	   *converted;

		import->text.data[import->text.len + used] = '\0';
		converted = co_text_from_utf8(import->text.data + import->text.len);
		appendStringInfoString(&import->text, converted);
		pfree(converted);
	}
	appendStringInfoChar(&import->text, '\n');
	import->ends[import->records++] = import->text.len;
}

static void
reset_batch(CoImport *import)
{
	MemoryContext old;

	MemoryContextReset(import->batch);
	old = MemoryContextSwitchTo(import->batch);
	initStringInfo(&import->text);
	MemoryContextSwitchTo(old);
	import->records = 0;
	import->one_by_one = false;
	import->row = NULL;
	import->count = 0;
	import->broken = import->unsplit = 0;
	import->undone = 0;
	import->why_broken = NULL;
	import->read = 0;
	import->verdicts = 0;
	memset(import->bad, 0, CO_IMPORT_ROWS * sizeof(bool));
}

static void
note_broken(CoImport *import, const char *why)
{
	import->broken++;
	if (import->why_broken == NULL)
		import->why_broken = why;
}

bool
co_import_next(CoImport *import, bool last)
{
	MemoryContext old;
	int64		began = co_import_place(import);

	reset_batch(import);
	if (import->unfit != NULL)
		return false;
	if (import->offset + import->at == 0)
	{
		/* as much as it takes to know what this is */
		if (import->data.len < 4 && !last)
			return false;
		import->unfit = co_csv_foreign(import->data.data, import->data.len);
		if (import->unfit != NULL)
			return false;
		import->at = co_csv_mark(import->data.data, import->data.len);
	}

	old = MemoryContextSwitchTo(import->batch);
	while (import->read < CO_IMPORT_ROWS && import->at < import->data.len)
	{
		const char *record = import->data.data + import->at;
		size_t		text;
		size_t		whole;
		CoCsvRecord kind;

		kind = co_csv_record(record, import->data.len - import->at, last, import->delimiter,
							 import->header_read ? import->map.fields : 0, &text, &whole);
		if (kind == CO_CSV_NOT_WHOLE)
			break;
		if (!import->header_read && kind == CO_CSV_RECORD)
		{
			/* it is taken apart with the rows of its first batch */
			import->delimiter = co_csv_delimiter(record, text);
			if (import->records == 0)
				add_record(import, record, text);
			import->at += whole;
			break;
		}
		if (!import->header_read && kind == CO_CSV_BROKEN)
		{
			import->unfit = "its header is broken";
			break;
		}
		import->at += whole;
		if (co_import_place(import) <= import->skip || kind == CO_CSV_BLANK)
			continue;
		import->read++;
		/* COPY takes this for the end of all data */
		if (text >= 2 && record[0] == '\\' && record[1] == '.')
			kind = CO_CSV_BROKEN;
		if (kind == CO_CSV_BROKEN)
		{
			note_broken(import, "quotes are left open, or the row is too long");
			import->unsplit++;
		}
		else
			add_record(import, record, text);
	}
	MemoryContextSwitchTo(old);
	return import->unfit == NULL && (import->records > 0 || co_import_place(import) > began);
}

/* ---------- COPY's reader ---------- */

/* What the reader gets; its callback takes no argument. */
static const char *source_data = NULL;
static int	source_length = 0;

static int
read_source(void *buffer, int minread, int maxread)
{
	int			length = Min(source_length, maxread);

	(void) minread;
	memcpy(buffer, source_data, length);
	source_data += length;
	source_length -= length;
	return length;
}

/*
 * COPY wants a table to read for, although nothing but the fields is asked
 * for.  Whatever its owner has made of it is looked at with his rights.
 */
typedef struct Reader
{
	Relation	table;
	CopyFromState copy;
	Oid			user;
	int			context;
} Reader;

static void
open_reader(const CoCatalog *catalog, CoImport *import, Reader *reader,
			const char *data, int length)
{
	Oid			spool = get_relname_relid("clearout_spool", catalog->schema);
	char		delimiter[2] = {import->delimiter, '\0'};
	List	   *options;

	if (!OidIsValid(spool))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"clearout_spool\" of the extension \"clearout\" is missing")));
	GetUserIdAndSecContext(&reader->user, &reader->context);
	SetUserIdAndSecContext(co_table_owner(co_catalog_need(catalog, &catalog->jobs)),
						   reader->context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	source_data = data;
	source_length = length;
	options = list_make3(makeDefElem("format", (Node *) makeString(pstrdup("csv")), -1),
						 makeDefElem("delimiter", (Node *) makeString(pstrdup(delimiter)), -1),
						 makeDefElem("encoding", (Node *) makeString(pstrdup(GetDatabaseEncodingName())), -1));
	reader->table = table_open(spool, AccessShareLock);
	reader->copy = BeginCopyFrom(make_parsestate(NULL), reader->table, NULL, NULL, false,
								 read_source, NIL, options);
}

static void
close_reader(Reader *reader)
{
	EndCopyFrom(reader->copy);
	table_close(reader->table, AccessShareLock);
	SetUserIdAndSecContext(reader->user, reader->context);
}

void
co_import_check(CoCatalog *catalog, CoImport *import, int record)
{
	int			from = record > 0 ? import->ends[record - 1] : 0;
	Reader		reader;
	char	  **fields;
	int			count;
	int			records = 0;

	open_reader(catalog, import, &reader, import->text.data + from, import->ends[record] - from);
	while (NextCopyFromRawFields(reader.copy, &fields, &count))
		records++;
	close_reader(&reader);
	if (records != 1)
		ereport(ERROR,
				(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
				 errmsg("this is not one record")));
}

/* ---------- rows ---------- */

static void
set_text(CoImportRow *row, CoColumn column, const char *text)
{
	row->isnull[column] = text == NULL || text[0] == '\0';
	if (!row->isnull[column])
		row->value[column] = CStringGetTextDatum(text);
}

static void
set_ternary(CoImportRow *row, CoColumn column, CoTernary ternary)
{
	row->isnull[column] = ternary == CO_NULL;
	row->value[column] = BoolGetDatum(ternary == CO_TRUE);
}

static void
set_time(CoImportRow *row, CoColumn column, TimestampTz time)
{
	row->isnull[column] = time == 0;
	row->value[column] = TimestampTzGetDatum(time);
}

static TimestampTz
from_unix(int64 microseconds)
{
	return microseconds -
		(int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

static char *
key_of(const CoCsvAnswer *answer)
{
	CoAddressError error;
	const char *email = answer->email ? answer->email
		: psprintf("%s@%s", answer->account, answer->domain);

	return co_normalize_argument(cstring_to_text(email), &error);
}

/* A row of the batch from the fields of a record; false: it has no answer. */
static bool
fill_row(CoImport *import, char **fields, int count, TimestampTz now, CoImportRow *row)
{
	CoCsvAnswer answer;
	CoCsvVerdict verdict = co_csv_answer(&import->map, fields, count, &answer);
	TimestampTz verified_at;
	Interval   *taken;

	if (verdict == CO_CSV_UNDONE)
	{
		import->undone++;
		return false;
	}
	if (verdict != CO_CSV_ANSWER)
	{
		note_broken(import, co_csv_verdict_text(verdict));
		return false;
	}
	row->key = key_of(&answer);
	if (row->key == NULL)
	{
		note_broken(import, "the address is malformed");
		return false;
	}
	/* nothing is from the future of our clock */
	verified_at = answer.verified_on == CO_NO_TIME ? import->verified_at
		: Min(from_unix(answer.verified_on), now);
	if (verified_at == 0)
	{
		note_broken(import, "the time of the verification is missing or not understood");
		return false;
	}

	row->unknown = strcmp(answer.status, "unknown") == 0;
	import->verdicts += row->unknown ? 0 : 1;
	set_text(row, CO_COL_EMAIL, row->key);
	set_text(row, CO_COL_STATUS, answer.status);
	set_text(row, CO_COL_SAFE_TO_SEND, answer.safe_to_send);
	row->isnull[CO_COL_SUB_STATUS] = answer.sub_status < 0;
	row->value[CO_COL_SUB_STATUS] = Int32GetDatum(answer.sub_status);
	set_text(row, CO_COL_REASON, answer.reason);
	set_text(row, CO_COL_BOUNCE_TYPE, answer.bounce_type);
	set_ternary(row, CO_COL_DISPOSABLE, answer.disposable);
	set_ternary(row, CO_COL_FREE, answer.free);
	set_ternary(row, CO_COL_ROLE, answer.role);
	set_ternary(row, CO_COL_GIBBERISH, answer.gibberish);
	set_text(row, CO_COL_SUGGESTED_EMAIL, answer.suggested_email);
	set_text(row, CO_COL_ACCOUNT, answer.account);
	set_text(row, CO_COL_DOMAIN, answer.domain);
	set_text(row, CO_COL_MX_RECORD, answer.mx_record);
	set_text(row, CO_COL_SMTP_PROVIDER, answer.smtp_provider);
	set_text(row, CO_COL_AI_VERDICT, answer.ai_verdict);
	set_time(row, CO_COL_VERIFIED_AT, verified_at);
	row->isnull[CO_COL_TIME_TAKEN] = answer.time_taken < 0;
	if (answer.time_taken >= 0)
	{
		taken = palloc0(sizeof(Interval));
		taken->time = answer.time_taken * 1000;
		row->value[CO_COL_TIME_TAKEN] = IntervalPGetDatum(taken);
	}
	set_text(row, CO_COL_SOURCE, import->source);
	row->isnull[CO_COL_RAW] = true;
	set_time(row, CO_COL_ASKED_AT, import->asked_at);
	set_time(row, CO_COL_ATTEMPTED_AT, import->asked_at != 0 ? import->asked_at : verified_at);
	return true;
}

/* By key; of equal ones, the one that shall win comes last. */
static int
compare_rows(const void *a, const void *b)
{
	const CoImportRow *first = a;
	const CoImportRow *second = b;
	int			result = strcmp(first->key, second->key);
	TimestampTz first_time;
	TimestampTz second_time;

	if (result != 0)
		return result;
	if (first->unknown != second->unknown)
		return first->unknown ? -1 : 1;
	first_time = DatumGetTimestampTz(first->value[CO_COL_VERIFIED_AT]);
	second_time = DatumGetTimestampTz(second->value[CO_COL_VERIFIED_AT]);
	return first_time < second_time ? -1 : first_time > second_time;
}

/* Lists are uploaded in the order of the keys, and mostly come back in it. */
static void
sort_rows(CoImport *import)
{
	bool		sorted = true;
	int			kept = 0;

	for (int i = 1; i < import->count && sorted; i++)
		sorted = strcmp(import->row[i - 1].key, import->row[i].key) < 0;
	if (sorted)
		return;
	qsort(import->row, import->count, sizeof(CoImportRow), compare_rows);
	for (int i = 0; i < import->count; i++)
	{
		if (kept > 0 && strcmp(import->row[kept - 1].key, import->row[i].key) == 0)
			kept--;
		import->row[kept++] = import->row[i];
	}
	import->count = kept;
}

static void
take_fields(CoImport *import, char **fields, int count, TimestampTz now)
{
	if (!import->header_read)
	{
		import->unfit = co_csv_map(fields, count, &import->map);
		import->header_read = true;
	}
	else if (fill_row(import, fields, count, now, &import->row[import->count]))
		import->count++;
}

void
co_import_parse(CoCatalog *catalog, CoImport *import)
{
	MemoryContext old = MemoryContextSwitchTo(import->batch);
	TimestampTz now = GetCurrentTimestamp();
	bool		header_read = import->header_read;
	int			from = 0;

	import->row = palloc(Max(import->records, 1) * sizeof(CoImportRow));
	import->count = 0;
	import->broken = import->unsplit;
	import->undone = 0;
	import->verdicts = 0;
	for (int record = 0; record < import->records;)
	{
		int			to = import->one_by_one ? record : import->records - 1;
		Reader		reader;
		char	  **fields;
		int			count;
		int			seen = 0;

		if (import->one_by_one && import->bad[record])
		{
			if (!import->header_read)
				import->unfit = "its header is broken";
			note_broken(import, "the row is no valid CSV");
			from = import->ends[record++];
			continue;
		}
		open_reader(catalog, import, &reader, import->text.data + from, import->ends[to] - from);
		while (import->unfit == NULL && NextCopyFromRawFields(reader.copy, &fields, &count))
		{
			if (++seen > to - record + 1)
				break;
			take_fields(import, fields, count, now);
		}
		close_reader(&reader);
		if (import->unfit == NULL && seen != to - record + 1)
		{
			/* each record is one line to COPY, or we do not know which is which */
			import->header_read = header_read;
			ereport(ERROR,
					(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
					 errmsg("COPY has read other records than were given")));
		}
		from = import->ends[to];
		record = to + 1;
	}
	sort_rows(import);
	MemoryContextSwitchTo(old);
}

/* ---------- storing ---------- */

#define WRITTEN_COLUMNS \
	"email, status, safe_to_send, sub_status, reason, bounce_type," \
	" disposable, free, role, gibberish, suggested_email, account, domain," \
	" mx_record, smtp_provider, ai_verdict, verified_at, time_taken, source," \
	" raw, asked_at, attempted_at"

static const Oid note_type[] = {TEXTOID};

/* A newer verdict, or any over an unknown; an unknown only over an older one. */
static CoStatement put_rows =
{CO_TABLE_RESULTS, "INSERT INTO %s.clearout_results AS r (" WRITTEN_COLUMNS ")"
	" SELECT " WRITTEN_COLUMNS " FROM " ROWS_NAME
	" ON CONFLICT (email) DO UPDATE SET"
	" (status, safe_to_send, sub_status, reason, bounce_type,"
	" disposable, free, role, gibberish, suggested_email, account, domain,"
	" mx_record, smtp_provider, ai_verdict, verified_at, time_taken, source,"
	" raw, asked_at, attempted_at,"
	" attempt_status, attempt_sub_status, attempt_reason, attempt_raw) ="
	" ROW (excluded.status, excluded.safe_to_send, excluded.sub_status,"
	" excluded.reason, excluded.bounce_type, excluded.disposable,"
	" excluded.free, excluded.role, excluded.gibberish,"
	" excluded.suggested_email, excluded.account, excluded.domain,"
	" excluded.mx_record, excluded.smtp_provider, excluded.ai_verdict,"
	" excluded.verified_at, excluded.time_taken, excluded.source,"
	" excluded.raw, excluded.asked_at, excluded.attempted_at,"
	" NULL, NULL, NULL, NULL)"
	" WHERE (r.status = 'unknown' AND (excluded.status <> 'unknown' OR r.verified_at <= excluded.verified_at))"
	" OR (excluded.status <> 'unknown' AND r.verified_at <= excluded.verified_at)",
0, note_type, NULL, ""};

/* Beside a verdict: the last attempt. */
static CoStatement put_attempts =
{CO_TABLE_RESULTS, "UPDATE %s.clearout_results AS r SET attempted_at = a.attempted_at,"
	" attempt_status = a.status, attempt_sub_status = a.sub_status,"
	" attempt_reason = a.reason, attempt_raw = a.raw"
	" FROM " ROWS_NAME " AS a WHERE r.email = a.email AND a.status = 'unknown'"
	" AND r.status <> 'unknown' AND (r.attempted_at IS NULL OR r.attempted_at <= a.attempted_at)",
0, note_type, NULL, ""};

/* A newer verdict is there, but it was asked for again. */
static CoStatement confirm_verdicts =
{CO_TABLE_RESULTS, "UPDATE %s.clearout_results AS r SET asked_at = a.asked_at,"
	" attempted_at = a.attempted_at, attempt_status = NULL, attempt_sub_status = NULL,"
	" attempt_reason = NULL, attempt_raw = NULL"
	" FROM " ROWS_NAME " AS a WHERE r.email = a.email AND a.status <> 'unknown'"
	" AND a.asked_at IS NOT NULL AND r.verified_at > a.verified_at"
	" AND (r.attempted_at IS NULL OR r.attempted_at <= a.attempted_at)",
0, note_type, NULL, ""};

static CoStatement find_missing =
{CO_TABLE_RESULTS, "SELECT FROM " ROWS_NAME " AS a WHERE NOT EXISTS"
	" (SELECT FROM %s.clearout_results AS r WHERE r.email = a.email) LIMIT 1",
0, note_type, NULL, ""};

static CoStatement spill_rows =
{CO_TABLE_SPILL, "INSERT INTO %s.clearout_spill (" WRITTEN_COLUMNS ", error)"
	" SELECT " WRITTEN_COLUMNS ", $1 FROM " ROWS_NAME, 1, note_type, NULL, ""};

static TupleDesc
rows_descriptor(void)
{
	static const char *const names[CO_WRITTEN_COLUMNS] = {
		"email", "status", "safe_to_send", "sub_status", "reason", "bounce_type",
		"disposable", "free", "role", "gibberish", "suggested_email", "account", "domain",
		"mx_record", "smtp_provider", "ai_verdict", "verified_at", "time_taken", "source",
		"raw", "asked_at", "attempted_at"
	};
	TupleDesc	descriptor = CreateTemplateTupleDesc(CO_WRITTEN_COLUMNS);

	for (int i = 0; i < CO_WRITTEN_COLUMNS; i++)
		TupleDescInitEntry(descriptor, i + 1, names[i], co_column_types[i], -1, 0);
	TupleDescInitEntryCollation(descriptor, CO_COL_EMAIL + 1, C_COLLATION_OID);
	return descriptor;
}

/* Let statements see the rows from..to under ROWS_NAME. */
static EphemeralNamedRelation
show_rows(CoImport *import, int from, int to)
{
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);

	relation->md.name = pstrdup(ROWS_NAME);
	relation->md.tupdesc = rows_descriptor();
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = to - from;
	relation->reldata = store;
	for (int i = from; i < to; i++)
		tuplestore_putvalues(store, relation->md.tupdesc, import->row[i].value, import->row[i].isnull);
	if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the rows");
	return relation;
}

static void
hide_rows(EphemeralNamedRelation relation)
{
	SPI_unregister_relation(ROWS_NAME);
	tuplestore_end(relation->reldata);
}

void
co_import_store(CoCatalog *catalog, CoImport *import, int from, int to)
{
	EphemeralNamedRelation relation;
	Datum	   *emails;

	if (from == to)
		return;

	/* somebody has locked the whole table: no use in trying row by row */
	if (!ConditionalLockRelationOid(catalog->results, RowExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"clearout_results\" is locked")));
	relation = show_rows(import, from, to);
	if (co_execute(catalog, &put_rows, NULL, NULL) < (uint64) (to - from))
	{
		(void) co_execute(catalog, &put_attempts, NULL, NULL);
		(void) co_execute(catalog, &confirm_verdicts, NULL, NULL);
		if (co_execute(catalog, &find_missing, NULL, NULL) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
					 errmsg("a trigger of the table \"clearout_results\" dropped the answer")));
	}
	hide_rows(relation);

	/* what a user imports is news to nobody */
	if (!co_am_worker)
		return;
	emails = palloc((to - from) * sizeof(Datum));
	for (int i = from; i < to; i++)
		emails[i - from] = import->row[i].value[CO_COL_EMAIL];
	co_outbox_put(catalog, emails, to - from);
}

void
co_import_spill(CoCatalog *catalog, CoImport *import, int from, int to,
				const char *note)
{
	EphemeralNamedRelation relation = show_rows(import, from, to);
	Datum		value = note ? CStringGetTextDatum(note) : (Datum) 0;

	(void) co_execute(catalog, &spill_rows, &value, note ? " " : "n");
	hide_rows(relation);
}
