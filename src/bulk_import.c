/*-------------------------------------------------------------------------
 * bulk_import.c
 *		Result files into answers, a batch of rows at a time.
 *
 *		bytes --csv.c--> records --valid, in our encoding--> COPY's reader
 *			--> fields --csv.c--> words --> rows, sorted, each key once
 *			--> new ones as COPY writes them (import_new.c), others by statements
 *
 * COPY ends at the first byte that is not valid, and at the first record that
 * it cannot read.  So records are found before, made valid, and handed over
 * a batch at a time; where COPY throws all the same, the caller looks for the
 * record that makes it do so.
 *
 * Rows whose key is there already reach the statements as a named tuplestore, as the rows of a
 * statement reach its triggers: no staging table is written, no array is
 * taken apart.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tupdesc.h"
#include "catalog/pg_collation.h"
#include "commands/copy.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_node.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "bulk_import.h"
#include "convert.h"
#include "import_kinds.h"

/* ---------- the file ---------- */

CoImport *
co_import_begin(const CoImportKind *kind, const char *source, TimestampTz asked_at,
				TimestampTz told_at, int64 skip)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "clearout import",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	CoImport   *import = palloc0(sizeof(CoImport));

	import->kind = kind;
	import->source = source;
	import->asked_at = asked_at;
	import->told_at = told_at;
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
	import->credits = 0;
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

void
co_import_set_text(CoImportRow *row, int column, const char *text)
{
	row->isnull[column] = text == NULL || text[0] == '\0';
	if (!row->isnull[column])
		row->value[column] = CStringGetTextDatum(text);
}

void
co_import_set_ternary(CoImportRow *row, int column, CoTernary ternary)
{
	row->isnull[column] = ternary == CO_NULL;
	row->value[column] = BoolGetDatum(ternary == CO_TRUE);
}

void
co_import_set_time(CoImportRow *row, int column, TimestampTz time)
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

TimestampTz
co_import_time(const CoImport *import, int64 told, TimestampTz now)
{
	return told == CO_NO_TIME ? import->told_at : Min(from_unix(told), now);
}

/* By key; of equal ones, the one that shall win comes last. */
static int
compare_rows(const void *a, const void *b)
{
	const CoImportRow *first = a;
	const CoImportRow *second = b;
	int			result = strcmp(first->key, second->key);

	if (result != 0)
		return result;
	if (first->weak != second->weak)
		return first->weak ? -1 : 1;
	return first->time < second->time ? -1 : first->time > second->time;
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
	CoImportRow *row = &import->row[import->count];
	const char *why = NULL;

	if (!import->header_read)
	{
		import->unfit = import->kind->map(fields, count, &import->map);
		import->header_read = true;
		return;
	}
	row->unasked = false;
	switch (import->kind->fill(import, fields, count, now, row, &why))
	{
		case CO_ROW_ANSWER:
			import->credits += row->credits;
			import->count++;
			break;
		case CO_ROW_UNDONE:
			import->undone++;
			break;
		case CO_ROW_BROKEN:
			note_broken(import, why);
			break;
	}
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
	import->credits = 0;
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

static TupleDesc
rows_descriptor(const CoImportKind *kind)
{
	TupleDesc	descriptor = CreateTemplateTupleDesc(kind->columns);

	for (int i = 0; i < kind->columns; i++)
		TupleDescInitEntry(descriptor, i + 1, kind->names[i], kind->types[i], -1, 0);
	for (int i = 0; i < kind->key_columns; i++)
		TupleDescInitEntryCollation(descriptor, i + 1, C_COLLATION_OID);
	return descriptor;
}

EphemeralNamedRelation
co_import_show(const CoImport *import, CoImportRow *const *rows, int count)
{
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);

	relation->md.name = pstrdup(CO_IMPORT_ROWS_NAME);
	relation->md.tupdesc = rows_descriptor(import->kind);
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;

	/*
	 * Few, so that every plan goes from these rows to the table by key, and not
	 * the other way round: it may have been made when the table was small.
	 */
	relation->md.enrtuples = 1;
	relation->reldata = store;
	for (int i = 0; i < count; i++)
		tuplestore_putvalues(store, relation->md.tupdesc, rows[i]->value, rows[i]->isnull);
	if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the rows");
	return relation;
}

EphemeralNamedRelation
co_import_show_rows(CoImport *import, int from, int to)
{
	CoImportRow **rows = palloc(Max(to - from, 1) * sizeof(CoImportRow *));
	EphemeralNamedRelation relation;
	int			count = 0;

	for (int i = from; i < to; i++)
	{
		if (!import->row[i].unasked)
			rows[count++] = &import->row[i];
	}
	relation = co_import_show(import, rows, count);
	pfree(rows);
	return relation;
}

/* There may be hundreds of batches in one transaction: nothing is left. */
void
co_import_hide_rows(EphemeralNamedRelation relation)
{
	SPI_unregister_relation(CO_IMPORT_ROWS_NAME);
	tuplestore_end(relation->reldata);
	FreeTupleDesc(relation->md.tupdesc);
	pfree(relation->md.name);
	pfree(relation);
}

void
co_import_store(CoCatalog *catalog, CoImport *import, int from, int to)
{
	if (from < to)
		import->kind->store(catalog, import, from, to);
}

void
co_import_spill(CoCatalog *catalog, CoImport *import, int from, int to,
				const char *note)
{
	import->kind->spill(catalog, import, from, to, note);
}
