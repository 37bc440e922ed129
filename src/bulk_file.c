/*-------------------------------------------------------------------------
 * bulk_file.c
 *		clearout_import(): result files that a user has.
 *
 * What was verified in the Clearout app has been paid for.  Its reports and
 * exports have the user's own columns around those of the service, which are
 * found by their names.  Other than the worker, this runs in the caller's
 * transaction, and waits for others' locks as any statement does.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "bulk_import.h"
#include "convert.h"

PG_FUNCTION_INFO_V1(clearout_import);
PG_FUNCTION_INFO_V1(clearout_import_bytes);
PG_FUNCTION_INFO_V1(clearout_import_file);

#define PIECE	(256 * 1024)

typedef struct Importing
{
	CoCatalog	catalog;
	CoImport   *import;
	int64		rows;
	int64		stored;
	const char *reason;			/* the first of them */
} Importing;

/* Take in what has come, and all of it if that is the last. */
static void
import_piece(Importing *importing, bool last)
{
	CoImport   *import = importing->import;

	while (co_import_next(import, last))
	{
		CHECK_FOR_INTERRUPTS();
		co_import_parse(&importing->catalog, import);
		co_import_store(&importing->catalog, import, 0, import->count);
		importing->rows += import->read;
		importing->stored += import->count;
		if (importing->reason == NULL && import->why_broken != NULL)
			importing->reason = import->why_broken;
	}
	if (import->unfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
				 errmsg("this is no result file of the Clearout service"),
				 errdetail("Reason: %s.", import->unfit),
				 errhint("It has to be CSV, in UTF-8, with the columns \"Email\" and \"Clearout Verification Status\".")));
}

/* Bytes from somewhere; 0: there are no more. */
typedef size_t (*Source) (void *argument, char *buffer, size_t size);

static Datum
import_all(FunctionCallInfo fcinfo, Source source, void *argument)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"plan_cache_mode", "force_generic_plan"},
		{"enable_seqscan", "off"},
		{"enable_hashjoin", "off"},
		{"enable_mergejoin", "off"},
		{"jit", "off"}
	};
	Importing	importing = {{0}};
	TimestampTz verified_at = PG_ARGISNULL(1) ? 0 : PG_GETARG_TIMESTAMPTZ(1);
	char	   *buffer = palloc(PIECE);
	int			guc_level;
	size_t		length;
	TupleDesc	descriptor;
	Datum		values[4];
	bool		nulls[4] = {false};

	PreventCommandIfReadOnly("clearout_import()");
	PreventCommandDuringRecovery("clearout_import()");
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (verified_at > GetCurrentTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"verified_at\" is in the future")));
	co_catalog_of_function(fcinfo, &importing.catalog);
	importing.import = co_import_begin(&co_results_import, "import", 0, verified_at, 0);

	PG_TRY();
	{
		guc_level = NewGUCNestLevel();
		for (int i = 0; i < lengthof(settings); i++)
			(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET,
									 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		SPI_connect();
		while ((length = source(argument, buffer, PIECE)) > 0)
		{
			co_import_feed(importing.import, buffer, length);
			import_piece(&importing, false);
		}
		import_piece(&importing, true);
		if (!importing.import->header_read)
			ereport(ERROR,
					(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
					 errmsg("this is no result file of the Clearout service"),
					 errdetail("Reason: it is empty.")));
		SPI_finish();
		AtEOXact_GUC(false, guc_level);
	}
	PG_FINALLY();
	{
		co_import_end(importing.import);
	}
	PG_END_TRY();

	values[0] = Int64GetDatum(importing.rows);
	values[1] = Int64GetDatum(importing.stored);
	values[2] = Int64GetDatum(importing.rows - importing.stored);
	nulls[3] = importing.reason == NULL;
	if (!nulls[3])
		values[3] = CStringGetTextDatum(importing.reason);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls));
}

/* ---------- where it comes from ---------- */

typedef struct Memory
{
	const char *data;
	size_t		left;
} Memory;

static size_t
from_memory(void *argument, char *buffer, size_t size)
{
	Memory	   *memory = argument;
	size_t		length = Min(size, memory->left);

	memcpy(buffer, memory->data, length);
	memory->data += length;
	memory->left -= length;
	return length;
}

static size_t
from_file(void *argument, char *buffer, size_t size)
{
	FILE	   *file = argument;
	size_t		length = fread(buffer, 1, size, file);

	if (length == 0 && ferror(file))
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read the file: %m")));
	return length;
}

Datum
clearout_import(PG_FUNCTION_ARGS)
{
	text	   *csv;
	char	   *utf8;
	Memory		memory;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	csv = PG_GETARG_TEXT_PP(0);
	utf8 = co_text_to_utf8(VARDATA_ANY(csv), VARSIZE_ANY_EXHDR(csv));
	memory.data = utf8;
	memory.left = strlen(utf8);
	return import_all(fcinfo, from_memory, &memory);
}

Datum
clearout_import_bytes(PG_FUNCTION_ARGS)
{
	bytea	   *csv;
	Memory		memory;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	csv = PG_GETARG_BYTEA_PP(0);
	memory.data = VARDATA_ANY(csv);
	memory.left = VARSIZE_ANY_EXHDR(csv);
	return import_all(fcinfo, from_memory, &memory);
}

Datum
clearout_import_file(PG_FUNCTION_ARGS)
{
	char	   *path;
	FILE	   *file;
	Datum		result;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to read a file of the server"),
				 errdetail("Only roles with privileges of the role \"pg_read_server_files\" may do that.")));
	path = text_to_cstring(PG_GETARG_TEXT_PP(0));
	canonicalize_path(path);
	file = AllocateFile(path, PG_BINARY_R);
	if (file == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\" for reading: %m", path)));
	result = import_all(fcinfo, from_file, file);
	FreeFile(file);
	return result;
}
