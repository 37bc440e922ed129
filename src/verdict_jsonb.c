/*-------------------------------------------------------------------------
 * verdict_jsonb.c
 *		Read an ordinary verdict, and make a jsonb value of it at once.
 *
 * The data of an answer is kept as jsonb.  To have jansson parse it and write
 * it as text again, for the server to parse once more, takes longer than all
 * the rest of its storing; the server's own parser, which copies each key and
 * value several times, still took a third of the time.  So the values stay
 * where they came in, and only what jsonb itself consists of is written.
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

#include "plain_json.h"
#include "verdict.h"
#include "verdict_jsonb.h"

/* Kept from one answer to the next: what it takes to make one of it. */
#define CONTEXT_SIZE (32 * 1024)

static MemoryContext context = NULL;

static int64
integer_of(const CoPlainNode *node)
{
	bool		negative = node->text[0] == '-';
	int64		number = 0;

	for (int i = negative; i < node->length; i++)
		number = number * 10 + (node->text[i] - '0');
	return negative ? -number : number;
}

static Numeric
numeric_of(const CoPlainNode *node)
{
	if (node->kind == CO_PLAIN_INTEGER)
		return int64_to_numeric(integer_of(node));
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

static bool build(const CoPlainNode *node, JsonbValue *value);

/* False if a key is there twice. */
static bool
build_object(const CoPlainNode *node, JsonbValue *value)
{
	JsonbPair  *pair = palloc(Max(node->count, 1) * sizeof(JsonbPair));
	const CoPlainNode *name = node + 1;

	for (int i = 0; i < node->count; i++)
	{
		JsonbPair	next;
		int			place = i;

		next.order = i;
		if (!build(name, &next.key) || !build(name + 1, &next.value))
			return false;
		name += 1 + name[1].next;

		/* They are few, and many of them in order. */
		for (; place > 0; place--)
		{
			int			order = compare_keys(&pair[place - 1], &next);

			if (order == 0)
				return false;
			if (order < 0)
				break;
			pair[place] = pair[place - 1];
		}
		pair[place] = next;
	}
	value->type = jbvObject;
	value->val.object.nPairs = node->count;
	value->val.object.pairs = pair;
	return true;
}

static bool
build_array(const CoPlainNode *node, JsonbValue *value)
{
	JsonbValue *element = palloc(Max(node->count, 1) * sizeof(JsonbValue));
	const CoPlainNode *part = node + 1;

	for (int i = 0; i < node->count; i++)
	{
		if (!build(part, &element[i]))
			return false;
		part += part->next;
	}
	value->type = jbvArray;
	value->val.array.nElems = node->count;
	value->val.array.elems = element;
	value->val.array.rawScalar = false;
	return true;
}

/* What the server's own parser would make of it. */
static bool
build(const CoPlainNode *node, JsonbValue *value)
{
	switch (node->kind)
	{
		case CO_PLAIN_OBJECT:
			return build_object(node, value);
		case CO_PLAIN_ARRAY:
			return build_array(node, value);
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
	return true;
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
			value.kind = CO_VALUE_INTEGER;
			value.number = integer_of(node);
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
	JsonbValue	built;
	Jsonb	   *kept;

	if (!co_plain_read(body, length, envelope))
		return false;
	status = part_of(envelope, "status");
	data = object_of(envelope, "data");
	if (!co_value_is_word(&status, "success") || data == NULL)
		return false;
	co_verdict_pick(&reader, data, &parts);
	if (!co_verdict_read(&parts, email, answer, &texts, outcome) || !build(data, &built))
		return false;

	kept = JsonbValueToJsonb(&built);
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
