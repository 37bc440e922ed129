/*-------------------------------------------------------------------------
 * verdict_jsonb.c
 *		Read an ordinary verdict with the server's own JSON parser.
 *
 * The data of an answer is kept as jsonb.  So an answer that is parsed as
 * jsonb to begin with need not be written as text again and parsed once more,
 * which takes longer than all the rest of its storing.
 *
 * What is mended, refused or told as a fault is the codec's affair alone:
 * whatever is not plainly a verdict on the address that was asked for is left
 * to it, byte for byte.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "verdict.h"
#include "verdict_jsonb.h"

/* A real answer is three levels deep. */
#define PLAIN_DEPTH 32

/* Kept from one answer to the next: what it takes to parse one. */
#define CONTEXT_SIZE (32 * 1024)

static MemoryContext context = NULL;

/*
 * Nothing in it that jsonb would take and the codec would not, or otherwise: a
 * number with an exponent (of any size: it would be printed in full), a deep
 * nesting.  Of what is no JSON at all the parser takes care.
 */
static bool
is_plain(const char *text, size_t length)
{
	const char *end = text + length;
	int			depth = 0;

	for (const char *p = text; p < end; p++)
	{
		switch (*p)
		{
			case '"':
				p = memchr(p + 1, '"', end - p - 1);
				if (p == NULL || p[-1] == '\\')
					return false;
				break;
			case '{':
			case '[':
				if (++depth > PLAIN_DEPTH)
					return false;
				break;
			case '}':
			case ']':
				depth--;
				break;
			case 'e':
			case 'E':
				if (p > text && ((p[-1] >= '0' && p[-1] <= '9') || p[-1] == '.'))
					return false;
				break;
		}
	}
	return true;
}

/* NULL: it is no JSON, or none that can be had as jsonb. */
static Jsonb *
parse(const char *body, size_t length)
{
	MemoryContext old = CurrentMemoryContext;
	Jsonb	   *volatile parsed = NULL;

	PG_TRY();
	{
		parsed = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
													CStringGetDatum(pnstrdup(body, length))));
	}
	PG_CATCH();
	{
		/* a word of the parser's, which nobody reads: the codec has its own */
		MemoryContextSwitchTo(old);
		FlushErrorState();
	}
	PG_END_TRY();
	return parsed;
}

/* A number as the API writes them, in digits. */
static void
set_number(CoValue *value, Numeric number)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
	char	   *end;

	errno = 0;
	value->number = strtoll(text, &end, 10);
	if (errno == 0 && *end == '\0')
		value->kind = CO_VALUE_INTEGER;
}

static CoValue
part_of(const void *object, const char *name)
{
	CoValue		value = {CO_VALUE_OTHER, NULL, 0, 0};
	JsonbValue	found;

	if (object == NULL ||
		getKeyJsonValueFromContainer((JsonbContainer *) object, name, strlen(name), &found) == NULL)
	{
		value.kind = CO_VALUE_ABSENT;
		return value;
	}
	switch (found.type)
	{
		case jbvString:
			value.kind = CO_VALUE_TEXT;
			value.text = found.val.string.val;
			value.length = found.val.string.len;
			break;
		case jbvNumeric:
			set_number(&value, found.val.numeric);
			break;
		case jbvBool:
			value.kind = found.val.boolean ? CO_VALUE_TRUE : CO_VALUE_FALSE;
			break;
		default:
			break;
	}
	return value;
}

/* Sets value to it, if it is one. */
static JsonbContainer *
find_object(const void *object, const char *name, JsonbValue *value)
{
	if (getKeyJsonValueFromContainer((JsonbContainer *) object, name, strlen(name), value) == NULL ||
		value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		return NULL;
	return value->val.binary.data;
}

static const void *
object_of(const void *object, const char *name)
{
	JsonbValue	value;

	return find_object(object, name, &value);
}

static const CoVerdictReader reader = {part_of, object_of};

static bool
read_answer(const char *body, size_t length, const char *email,
			CoVerifyAnswer *answer, CoOutcome *outcome)
{
	Jsonb	   *envelope = parse(body, length);
	CoValue		status;
	JsonbValue	data;
	CoVerdictParts parts;
	CoVerdictTexts texts;
	Jsonb	   *kept;

	if (envelope == NULL || !JB_ROOT_IS_OBJECT(envelope))
		return false;
	status = part_of(&envelope->root, "status");
	if (!co_value_is_word(&status, "success") ||
		find_object(&envelope->root, "data", &data) == NULL)
		return false;
	co_verdict_pick(&reader, data.val.binary.data, &parts);
	if (!co_verdict_read(&parts, email, answer, &texts, outcome))
		return false;

	kept = JsonbValueToJsonb(&data);
	answer->jsonb = malloc(VARSIZE(kept) + texts.room);
	if (answer->jsonb == NULL)
		return false;
	memcpy(answer->jsonb, kept, VARSIZE(kept));
	co_verdict_put(&texts, (char *) answer->jsonb + VARSIZE(kept));
	return true;
}

bool
co_verdict_from_jsonb(int http_status, const char *body, size_t length,
					  const char *email, CoVerifyAnswer *answer, CoOutcome *outcome)
{
	MemoryContext old;
	bool		done;

	memset(answer, 0, sizeof(*answer));
	if (http_status < 200 || http_status > 299 || GetDatabaseEncoding() != PG_UTF8 ||
		!is_plain(body, length) || !pg_verify_mbstr(PG_UTF8, body, length, true))
		return false;

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "clearout verdict",
										0, CONTEXT_SIZE, ALLOCSET_DEFAULT_MAXSIZE);
	old = MemoryContextSwitchTo(context);
	done = read_answer(body, length, email, answer, outcome);
	MemoryContextSwitchTo(old);
	MemoryContextReset(context);
	if (!done)
	{
		memset(answer, 0, sizeof(*answer));
		return false;
	}
	outcome->fault = CO_FAULT_NONE;
	outcome->http_status = http_status;
	outcome->code = 0;
	outcome->message[0] = '\0';
	return true;
}
