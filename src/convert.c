/*-------------------------------------------------------------------------
 * convert.c
 *		Between the service's UTF-8 and the database's encoding.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "convert.h"

/* Question marks for whatever is not ASCII. */
static char *
ascii_only(const char *text)
{
	StringInfoData result;

	initStringInfo(&result);
	for (const unsigned char *c = (const unsigned char *) text; *c; c++)
	{
		if (*c < 0x80)
			appendStringInfoChar(&result, *c);
		else if (*c >= 0xC0)
			appendStringInfoChar(&result, '?');
	}
	return result.data;
}

char *
co_text_from_utf8(const char *text)
{
	int			encoding = GetDatabaseEncoding();
	int			length = strlen(text);
	int			done = 0;
	Oid			procedure;
	StringInfoData result;

	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return pstrdup(text);
	if (!IsTransactionState())
		return ascii_only(text);

	procedure = FindDefaultConversionProc(PG_UTF8, encoding);
	if (!OidIsValid(procedure))
		return ascii_only(text);

	/* Convert up to what does not convert, put a mark there, go on. */
	initStringInfo(&result);
	while (done < length)
	{
		int			size = (length - done) * MAX_CONVERSION_GROWTH + 1;
		char	   *piece = palloc(size);
		int			converted;

		converted = pg_do_encoding_conversion_buf(procedure, PG_UTF8, encoding,
												  (unsigned char *) text + done,
												  length - done,
												  (unsigned char *) piece, size,
												  true);
		appendStringInfoString(&result, piece);
		pfree(piece);
		done += converted;
		if (done < length)
		{
			appendStringInfoChar(&result, '?');
			done += Min(pg_encoding_mblen(PG_UTF8, text + done), length - done);
		}
	}
	return result.data;
}

Datum
co_datum_from_utf8(const char *text)
{
	int			encoding = GetDatabaseEncoding();

	/* as it is, but for a needless copy */
	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return CStringGetTextDatum(text);
	return CStringGetTextDatum(co_text_from_utf8(text));
}

char *
co_text_to_utf8(const char *text, int length)
{
	char	   *copy = pnstrdup(text, length);

	/* Nobody knows what these bytes mean; address.c tells if they are UTF-8. */
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		return copy;
	return pg_server_to_any(copy, length, PG_UTF8);
}

void
co_copy_text(char *copy, const char *text, size_t size)
{
	int			length = pg_mbcliplen(text, strlen(text), size - 1);

	memcpy(copy, text, length);
	copy[length] = '\0';
}
