/* Of what co_json_plain() takes and writes, jansson makes the same. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "json_plain.h"

/* Like the codec's arena: nothing is freed one by one. */
#define ROOM (4 * 1024 * 1024)
static char *room;
static size_t used;

static void *
take_room(size_t size)
{
	void	   *memory = room + used;

	size = (size + 15) / 16 * 16;
	if (size > ROOM - used)
		abort();
	used += size;
	return memory;
}

static void
free_room(void *memory)
{
	(void) memory;
}

static json_t *
slow(const char *text, size_t length)
{
	json_error_t error;

	return json_loadb(text, length, 0, &error);
}

/* As exact as it says: the bytes behind the text are not there. */
static json_t *
fast(const char *text, size_t length)
{
	char	   *copy = malloc(length + 1);
	char	   *exact = copy + 1;	/* of an odd address, too */
	json_t	   *value;

	memcpy(exact, text, length);
	value = co_json_plain(exact, length);
	free(copy);
	return value;
}

static void
takes(const char *text)
{
	size_t		length = strlen(text);
	json_t	   *value;
	char		plain[4096];
	char		jansson[4096];
	size_t		plain_length;
	size_t		jansson_length;

	used = 0;
	value = fast(text, length);
	CHECK(value != NULL, "%s", text);
	CHECK(json_equal(value, slow(text, length)), "%s", text);

	plain_length = co_json_plain_dump(value, plain, sizeof(plain));
	jansson_length = json_dumpb(value, jansson, sizeof(jansson), JSON_COMPACT);
	CHECK(plain_length == jansson_length, "%s", text);
	CHECK(memcmp(plain, jansson, plain_length) == 0, "%s", text);

	/* not one byte too few */
	CHECK(co_json_plain_dump(value, plain, plain_length) == plain_length, "%s", text);
	for (size_t size = 0; size < plain_length; size++)
		CHECK(co_json_plain_dump(value, plain, size) == 0, "%s", text);

	/* whatever is missing at its end */
	for (size_t i = 0; i < length; i++)
	{
		value = fast(text, i);
		CHECK(value == NULL || json_equal(value, slow(text, i)), "%s", text);
	}
}

static void
leaves(const char *text)
{
	used = 0;
	CHECK(fast(text, strlen(text)) == NULL, "%s", text);
}

/* Values that were not read here are written only if they are plain. */
static void
does_not_write(json_t *value)
{
	char		out[4096];

	CHECK(co_json_plain_dump(value, out, sizeof(out)) == 0, "%s", json_dumps(value, 0));
}

int
main(void)
{
	char		deep[64];

	room = malloc(ROOM);
	json_set_alloc_funcs(take_room, free_room);

	takes("{}");
	takes("[]");
	takes(" [ ] ");
	takes("\t{\r\n}\n");
	takes("[0,1,-1,10,999999999999999999,-999999999999999999]");
	takes("[true,false,null,\"\",\" \",\"~\"]");
	takes("{\"a\":{\"b\":[{\"c\":\"d\"},{}],\"e\":null},\"f\":-7}");
	takes("{ \"status\" : \"success\" , \"data\" : { \"email_address\" : \"jane@corp.example\" , \"time_taken\" : 1234 } }");
	takes("{\"a\":1,\"b\":2,\"a\":3}");
	takes("{\"\":1}");
	takes("[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]");

	/* valid, but not plain */
	leaves("[1.5]");
	leaves("[1e3]");
	leaves("[1E3]");
	leaves("[-0]");
	leaves("[1234567890123456789]");
	leaves("[\"\\n\"]");
	leaves("[\"\\u0041\"]");
	leaves("[\"\xC3\xA4\"]");
	leaves("[\"\x7F\"]");
	leaves("[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]");
	leaves("{\"a name of more than sixty-three characters, which the service never uses\":1}");
	memset(deep, '[', sizeof(deep));
	used = 0;
	CHECK(fast(deep, sizeof(deep)) == NULL, "%s", "its length counts");

	/* not valid */
	leaves("");
	leaves(" ");
	leaves("1");
	leaves("\"a\"");
	leaves("true");
	leaves("[1]]");
	leaves("[1] x");
	leaves("[1,]");
	leaves("[,1]");
	leaves("[1 2]");
	leaves("[01]");
	leaves("[-]");
	leaves("[+1]");
	leaves("[1x]");
	leaves("[tru]");
	leaves("[trueish]");
	leaves("[nul");
	leaves("['a']");
	leaves("[\"a\tb\"]");
	leaves("[\"a]");
	leaves("{\"a\"}");
	leaves("{\"a\":}");
	leaves("{\"a\":1,}");
	leaves("{a:1}");
	leaves("{1:1}");
	leaves("{\"a\":1]");
	leaves("[1}");
	leaves("\xEF\xBB\xBF[]");
	used = 0;
	CHECK(fast("[\"\0\"]", 5) == NULL, "%s", "its length counts");
	CHECK(fast("[]\0", 3) == NULL, "%s", "its length counts");

	used = 0;
	does_not_write(json_pack("[s]", "\""));
	does_not_write(json_pack("[s]", "\\"));
	does_not_write(json_pack("[s]", "\n"));
	does_not_write(json_pack("[s]", "\xC3\xA4"));
	does_not_write(json_pack("{s:i}", "a\"b", 1));
	does_not_write(json_pack("[f]", 1.5));
	does_not_write(json_pack("[I]", (json_int_t) INT64_MAX));
	does_not_write(json_pack("[I]", (json_int_t) INT64_MIN));
	does_not_write(json_pack("[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]"));

	free(room);
	return check_done();
}
