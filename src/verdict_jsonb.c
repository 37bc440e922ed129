/*-------------------------------------------------------------------------
 * verdict_jsonb.c
 *		Read an ordinary verdict, and make a jsonb value of it at once.
 *
 * The data of an answer is kept as jsonb.  To have jansson parse it and write
 * it as text again, for the server to parse once more, takes longer than all
 * the rest of its storing; and that parser alone, which copies each key and
 * value several times, takes three times the instructions.  So the values stay
 * where they came in, and only what jsonb itself consists of is written.
 *
 * What is mended, refused or told as a fault is the codec's affair alone:
 * whatever is not plainly a verdict on the address that was asked for is left
 * to it, byte for byte.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "plain_json.h"
#include "verdict.h"
#include "verdict_jsonb.h"

/* Kept from one answer to the next: an ordinary one takes no more. */
#define CONTEXT_SIZE (32 * 1024)

/* An integer of so many characters fits 64 bits. */
#define INTEGER_LENGTH 18

static MemoryContext context = NULL;

/* False if it does not fit. */
static bool
integer_of(const CoPlainNode *node, int64 *number)
{
	bool		negative = node->text[0] == '-';

	if (node->kind != CO_PLAIN_INTEGER || node->length > INTEGER_LENGTH)
		return false;
	*number = 0;
	for (int i = negative; i < node->length; i++)
		*number = *number * 10 + (node->text[i] - '0');
	if (negative)
		*number = -*number;
	return true;
}

static Numeric
numeric_of(const CoPlainNode *node)
{
	int64		number;

	if (integer_of(node, &number))
		return int64_to_numeric(number);
	return DatumGetNumeric(DirectFunctionCall3(numeric_in,
											   CStringGetDatum(pnstrdup(node->text, node->length)),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* By what jsonb searches and compares objects: shorter keys come first. */
static int
compare_keys(const JsonbPair *a, const JsonbPair *b)
{
	if (a->key.val.string.len != b->key.val.string.len)
		return a->key.val.string.len < b->key.val.string.len ? -1 : 1;
	return memcmp(a->key.val.string.val, b->key.val.string.val, a->key.val.string.len);
}

static void build(const CoPlainNode *node, JsonbValue *value);

static void
build_object(const CoPlainNode *node, JsonbValue *value)
{
	JsonbPair  *pair = palloc(Max(node->count, 1) * sizeof(JsonbPair));
	int			count = 0;
	const CoPlainNode *name = node + 1;

	for (int i = 0; i < node->count; i++)
	{
		JsonbPair	next;
		int			place = count;
		int			order = -1;

		next.order = i;
		build(name, &next.key);
		build(name + 1, &next.value);
		name += 1 + name[1].next;

		/* They are few, and many of them in order. */
		while (place > 0 && (order = compare_keys(&pair[place - 1], &next)) > 0)
			place--;
		if (place > 0 && order == 0)
			place--;			/* of two of the same key the last one counts */
		else
			memmove(&pair[place + 1], &pair[place], (count++ - place) * sizeof(JsonbPair));
		pair[place] = next;
	}
	value->type = jbvObject;
	value->val.object.nPairs = count;
	value->val.object.pairs = pair;
}

static void
build_array(const CoPlainNode *node, JsonbValue *value)
{
	JsonbValue *element = palloc(Max(node->count, 1) * sizeof(JsonbValue));
	const CoPlainNode *part = node + 1;

	for (int i = 0; i < node->count; i++)
	{
		build(part, &element[i]);
		part += part->next;
	}
	value->type = jbvArray;
	value->val.array.nElems = node->count;
	value->val.array.elems = element;
	value->val.array.rawScalar = false;
}

/* What the server's own parser would make of it. */
static void
build(const CoPlainNode *node, JsonbValue *value)
{
	switch (node->kind)
	{
		case CO_PLAIN_OBJECT:
			build_object(node, value);
			break;
		case CO_PLAIN_ARRAY:
			build_array(node, value);
			break;
		case CO_PLAIN_TEXT:
			value->type = jbvString;
			value->val.string.val = unconstify(char *, node->text);
			value->val.string.len = node->length;
			break;
		case CO_PLAIN_INTEGER:
		case CO_PLAIN_REAL:
			value->type = jbvNumeric;
			value->val.numeric = numeric_of(node);
			break;
		case CO_PLAIN_TRUE:
		case CO_PLAIN_FALSE:
			value->type = jbvBool;
			value->val.boolean = node->kind == CO_PLAIN_TRUE;
			break;
		case CO_PLAIN_NULL:
			value->type = jbvNull;
			break;
	}
}

/* NULL if there is no memory for it. */
static Jsonb *
make_jsonb(const CoPlainNode *node)
{
	MemoryContext old = CurrentMemoryContext;
	Jsonb	   *volatile made = NULL;

	PG_TRY();
	{
		JsonbValue	value;

		build(node, &value);
		made = JsonbValueToJsonb(&value);
	}
	PG_CATCH();
	{
		/* nobody reads that word of the server's: the codec has its own */
		MemoryContextSwitchTo(old);
		FlushErrorState();
	}
	PG_END_TRY();
	return made;
}

static CoValue
value_of(const CoPlainNode *node)
{
	CoValue		value = {CO_VALUE_OTHER, NULL, 0, 0};

	if (node == NULL)
	{
		value.kind = CO_VALUE_ABSENT;
		return value;
	}
	switch (node->kind)
	{
		case CO_PLAIN_TEXT:
			value.kind = CO_VALUE_TEXT;
			value.text = node->text;
			value.length = node->length;
			break;
		case CO_PLAIN_INTEGER:
			/* one that does not fit is nothing that the API tells */
			if (integer_of(node, &value.number))
				value.kind = CO_VALUE_INTEGER;
			break;
		case CO_PLAIN_TRUE:
			value.kind = CO_VALUE_TRUE;
			break;
		case CO_PLAIN_FALSE:
			value.kind = CO_VALUE_FALSE;
			break;
		default:
			break;
	}
	return value;
}

static CoValue
part_of(const void *object, const char *name)
{
	return value_of(object == NULL ? NULL : co_plain_member(object, name));
}

static const void *
object_of(const void *object, const char *name)
{
	const CoPlainNode *member = co_plain_member(object, name);

	return member != NULL && member->kind == CO_PLAIN_OBJECT ? member : NULL;
}

static const CoVerdictReader reader = {part_of, object_of};

static bool
read_answer(const char *body, size_t length, const char *email,
			CoVerifyAnswer *answer, CoOutcome *outcome)
{
	CoPlainNode envelope[CO_PLAIN_NODES];
	const CoPlainNode *data;
	CoValue		status;
	CoVerdictParts parts;
	CoVerdictTexts texts;
	Jsonb	   *kept;

	if (!co_plain_read(body, length, envelope))
		return false;
	status = part_of(envelope, "status");
	data = object_of(envelope, "data");
	if (!co_value_is_word(&status, "success") || data == NULL)
		return false;
	co_verdict_pick(&reader, data, &parts);
	if (!co_verdict_read(&parts, email, answer, &texts, outcome) ||
		(kept = make_jsonb(data)) == NULL)
		return false;

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
		!pg_verify_mbstr(PG_UTF8, body, length, true))
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
