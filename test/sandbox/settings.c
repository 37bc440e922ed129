/*-------------------------------------------------------------------------
 * settings.c
 *		What can be set, on the command line and while running alike.
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "settings.h"

#define DAY_MS 86400000

typedef enum Kind
{
	KIND_NUMBER,				/* "none" is -1 where that is allowed */
	KIND_BOOL,
	KIND_WORD,
	KIND_RANGE					/* N or N..M */
} Kind;

typedef struct Setting
{
	const char *name;
	Kind		kind;
	size_t		offset;
	int64_t		min;
	int64_t		max;
	const char *words[5];
	const char *help;
} Setting;

#define AT(field) offsetof(Settings, field)

static const Setting table[] = {
	{"limit", KIND_NUMBER, AT(limit), 0, INT32_MAX, {NULL},
	"requests let through in a window, 0 = no limit and no headers"},
	{"limit_verify", KIND_NUMBER, AT(limit_verify), -1, INT32_MAX, {NULL},
	"limit of the verify calls where the window is not shared, none = as limit"},
	{"limit_find", KIND_NUMBER, AT(limit_find), -1, INT32_MAX, {NULL},
	"limit of the finder calls, likewise"},
	{"limit_other", KIND_NUMBER, AT(limit_other), -1, INT32_MAX, {NULL},
	"limit of all other calls, likewise"},
	{"shared_window", KIND_BOOL, AT(shared_window), 0, 1, {NULL},
	"verify, finder and other calls count in one window"},
	{"window_ms", KIND_NUMBER, AT(window_ms), 1, DAY_MS, {NULL},
	"length of a window"},
	{"window_start", KIND_WORD, AT(window_start), 0, 0, {"first_call", "aligned"},
	"first_call: begins with a request; aligned: at multiples of its length"},
	{"reset_rounding", KIND_WORD, AT(reset_rounding), 0, 0, {"up", "down", "nearest"},
	"how the seconds in x-ratelimit-reset are rounded"},
	{"headers_at", KIND_WORD, AT(headers_at), 0, 0, {"arrival", "response"},
	"when the values of the rate headers are taken"},
	{"rate_headers", KIND_BOOL, AT(rate_headers), 0, 1, {NULL},
	"send the rate headers"},
	{"latency", KIND_RANGE, AT(latency), 0, DAY_MS, {NULL},
	"ms from a call to its answer, N or N..M (uniform)"},
	{"credits", KIND_NUMBER, AT(credits), 0, INT64_MAX, {NULL},
	"credits of each token"},
	{"daily_limit", KIND_NUMBER, AT(daily_limit), -1, INT64_MAX, {NULL},
	"paid verify calls a day of each token, none = no limit"},
	{"auth_scheme", KIND_WORD, AT(auth_scheme), 0, 0, {"any", "bearer", "raw", "colon"},
	"accepted spelling: Bearer T, T, Bearer:T"},
	{"timeout_min", KIND_NUMBER, AT(timeout_min), 0, DAY_MS, {NULL},
	"smallest \"timeout\" that a request may name"},
	{"credits_code", KIND_NUMBER, AT(credits_code), 0, 9999, {NULL},
	"code of a 402, 1002 or its twin 1031"},
	{"daily_code", KIND_NUMBER, AT(daily_code), 0, 9999, {NULL},
	"code at the daily limit, 1017 or its twin 1032"},
	{"rate_code", KIND_NUMBER, AT(rate_code), 0, 9999, {NULL},
	"code of a 429, 0 = leave it out"},
	{"unknown_parameters", KIND_WORD, AT(unknown_parameters), 0, 0, {"refuse", "ignore"},
	"what becomes of parameters that the API does not have"},
	{"optional_endpoints", KIND_BOOL, AT(optional_endpoints), 0, 1, {NULL},
	"have what not every account has: account/*, lists of lists, name/validate"},
	{"remember", KIND_BOOL, AT(remember), 0, 1, {NULL},
	"keep counters for each address"},
	{"check_price", KIND_NUMBER, AT(check_price), 0, INT32_MAX, {NULL},
	"credits for a single check, if the address would cost something"},
	{"utility_price", KIND_NUMBER, AT(utility_price), 0, INT32_MAX, {NULL},
	"credits for mx, whois and name"},
	{"find_time", KIND_RANGE, AT(find_time), 0, DAY_MS, {NULL},
	"ms that a search takes beyond the latency, N or N..M (uniform)"},
	{"find_later", KIND_NUMBER, AT(find_later), 0, DAY_MS, {NULL},
	"ms that a search goes on after a 524 that a fault has ordered"},
	{"find_nothing", KIND_WORD, AT(find_nothing), 0, 0, {"code", "empty"},
	"nobody found: failure 1027, or success without addresses"},
	{"queue_life", KIND_NUMBER, AT(queue_life), 0, 45 * (int64_t) DAY_MS, {NULL},
	"ms from the end of a search until its queue id is forgotten"},
	{"lead_nothing", KIND_WORD, AT(lead_nothing), 0, 0, {"null", "empty", "absent", "404"},
	"what a reverse lookup says that finds nothing"},
	{"lead_title", KIND_WORD, AT(lead_title), 0, 0, {"contructed", "constructed"},
	"how the key of that title is spelt"},
	{"bulk_lists", KIND_NUMBER, AT(bulk_lists), -1, INT32_MAX, {NULL},
	"lists of a kind and token that may run at once, none = any number"},
	{"bulk_delay", KIND_RANGE, AT(bulk_delay), 0, DAY_MS, {NULL},
	"ms from an upload to the first row, N or N..M (uniform)"},
	{"bulk_speed", KIND_NUMBER, AT(bulk_speed), -1, INT32_MAX, {NULL},
	"rows a second of each list, none = as many as can be, 0 = it stands"},
	{"cancel_delay", KIND_NUMBER, AT(cancel_delay), 0, DAY_MS, {NULL},
	"ms from the cancelling of a list to its end"},
	{"result_delay", KIND_NUMBER, AT(result_delay), 0, DAY_MS, {NULL},
	"ms from \"completed\" until the result can be asked for"},
	{"result_life", KIND_NUMBER, AT(result_life), 0, DAY_MS, {NULL},
	"ms that the URL of a result is good for"},
	{"retention", KIND_NUMBER, AT(retention), 0, 45 * (int64_t) DAY_MS, {NULL},
	"ms from the end of a list until its result is deleted"},
	{"result_order", KIND_WORD, AT(result_order), 0, 0, {"documented", "mixed"},
	"order of the columns in a result"},
	{"result_header", KIND_WORD, AT(result_header), 0, 0, {"documented", "lower", "upper", "mixed"},
	"letters of the names of Clearout's columns"},
	{"result_line_end", KIND_WORD, AT(result_line_end), 0, 0, {"lf", "crlf"},
	"how the lines of a result end"},
	{"result_time", KIND_WORD, AT(result_time), 0, 0, {"iso", "blank"},
	"how a time is written in a result: with T, ms and Z, or with a blank and without"},
	{"result_bom", KIND_BOOL, AT(result_bom), 0, 1, {NULL},
	"a result begins with a byte order mark"},
	{"result_extra", KIND_BOOL, AT(result_extra), 0, 1, {NULL},
	"a result has one more column, Clearout AI Verdict"},
	{"result_line_breaks", KIND_BOOL, AT(result_line_breaks), 0, 1, {NULL},
	"the reason in every third row has quotes, a comma and a line break"},
	{"result_bad_row", KIND_NUMBER, AT(result_bad_row), -1, INT32_MAX, {NULL},
	"the row (from 1) whose reason is not UTF-8"},
	{"seed", KIND_NUMBER, AT(seed), 0, INT64_MAX, {NULL},
	"of the random numbers (latency, probability of faults)"},
};

#define NSETTINGS (sizeof(table) / sizeof(table[0]))

Settings	settings = {
	.limit_verify = -1,
	.limit_find = -1,
	.limit_other = -1,
	.shared_window = 1,
	.window_ms = 60000,
	.rate_headers = 1,
	.credits = 100000,
	.daily_limit = -1,
	.timeout_min = 1000,
	.credits_code = 1002,
	.daily_code = 1017,
	.rate_code = 1030,
	.optional_endpoints = 1,
	.remember = 1,
	.check_price = 1,
	.find_later = 1000,
	.queue_life = 30 * (int64_t) DAY_MS,
	.bulk_lists = 5,
	.bulk_speed = -1,
	.result_life = 300000,
	.retention = 30 * (int64_t) DAY_MS,
	.result_bad_row = -1,
	.seed = 1
};

static Settings kept;
static uint64_t dice;			/* 0 = to be seeded */

static int64_t *
field(const Setting *setting)
{
	return (int64_t *) ((char *) &settings + setting->offset);
}

/* some-name and some_name are the same. */
static const Setting *
lookup(const char *name)
{
	for (size_t i = 0; i < NSETTINGS; i++)
	{
		const char *a = table[i].name;
		const char *b = name;

		while (*a && (*a == *b || (*a == '_' && *b == '-')))
			a++, b++;
		if (*a == '\0' && *b == '\0')
			return &table[i];
	}
	return NULL;
}

static bool
read_number(const char *text, const char **end, int64_t *number)
{
	char	   *stop;

	if (!isdigit((unsigned char) *text) && *text != '-')
		return false;
	errno = 0;
	*number = strtoll(text, &stop, 10);
	*end = stop;
	return errno == 0 && stop != text;
}

const char *
settings_set(const char *name, const char *value)
{
	const Setting *setting = lookup(name);
	const char *end = "";
	int64_t		number;
	int64_t		upper;

	if (setting == NULL)
		return "unknown setting";
	switch (setting->kind)
	{
		case KIND_BOOL:
			if (strcmp(value, "on") == 0 || strcmp(value, "1") == 0)
				*field(setting) = 1;
			else if (strcmp(value, "off") == 0 || strcmp(value, "0") == 0)
				*field(setting) = 0;
			else
				return "value must be on or off";
			break;
		case KIND_WORD:
			for (int i = 0; setting->words[i]; i++)
				if (strcmp(value, setting->words[i]) == 0)
				{
					*field(setting) = i;
					return NULL;
				}
			return "value is not one of the known words";
		case KIND_NUMBER:
			if (strcmp(value, "none") == 0 && setting->min < 0)
				number = -1;
			else if (!read_number(value, &end, &number) || *end)
				return "value must be a whole number";
			if (number < setting->min || number > setting->max)
				return "value is out of range";
			*field(setting) = number;
			if (setting->offset == AT(seed))
				dice = 0;
			break;
		case KIND_RANGE:
			if (!read_number(value, &end, &number))
				return "value must be N or N..M";
			upper = number;
			if (strncmp(end, "..", 2) == 0 && !read_number(end + 2, &end, &upper))
				return "value must be N or N..M";
			if (*end || number < setting->min || upper < number || upper > setting->max)
				return "value must be N or N..M, within range";
			field(setting)[0] = number;
			field(setting)[1] = upper;
			break;
	}
	return NULL;
}

const char *
settings_set_json(const char *name, const json_t *value)
{
	char		text[64];

	if (json_is_string(value))
		return settings_set(name, json_string_value(value));
	if (json_is_boolean(value))
		return settings_set(name, json_is_true(value) ? "on" : "off");
	if (json_is_null(value))
		return settings_set(name, "none");
	if (json_is_integer(value))
		snprintf(text, sizeof(text), "%lld", (long long) json_integer_value(value));
	else if (json_array_size(value) == 2)
		snprintf(text, sizeof(text), "%lld..%lld",
				 (long long) json_integer_value(json_array_get(value, 0)),
				 (long long) json_integer_value(json_array_get(value, 1)));
	else
		return "value is of the wrong type";
	return settings_set(name, text);
}

bool
settings_number(const json_t *value, int64_t *number)
{
	const char *end = "";

	if (json_is_integer(value))
		*number = json_integer_value(value);
	else if (!json_is_string(value) ||
			 !read_number(json_string_value(value), &end, number) || *end)
		return false;
	return *number >= 0;
}

bool
settings_bool(const json_t *value, bool *flag)
{
	int64_t		number;

	if (json_is_boolean(value))
		*flag = json_is_true(value);
	else if (settings_number(value, &number) && number <= 1)
		*flag = number;
	else
		return false;
	return true;
}

bool
settings_known(const char *name)
{
	return lookup(name) != NULL;
}

json_t *
settings_json(void)
{
	json_t	   *object = json_object();

	for (size_t i = 0; i < NSETTINGS; i++)
	{
		const Setting *setting = &table[i];
		int64_t    *value = field(setting);
		json_t	   *json;

		if (setting->kind == KIND_BOOL)
			json = json_boolean(*value);
		else if (setting->kind == KIND_WORD)
			json = json_string(setting->words[*value]);
		else if (setting->kind == KIND_RANGE)
			json = json_pack("[I,I]", (json_int_t) value[0], (json_int_t) value[1]);
		else if (*value < 0)
			json = json_null();
		else
			json = json_integer(*value);
		json_object_set_new(object, setting->name, json);
	}
	return object;
}

void
settings_help(FILE *out)
{
	for (size_t i = 0; i < NSETTINGS; i++)
	{
		const Setting *setting = &table[i];
		int64_t    *value = field(setting);
		char		option[40];

		snprintf(option, sizeof(option), "%s", setting->name);
		for (char *p = option; *p; p++)
			if (*p == '_')
				*p = '-';
		fprintf(out, "  --%-19s %s", option, setting->help);
		if (setting->kind == KIND_WORD)
			fprintf(out, " (%s)", setting->words[*value]);
		else if (setting->kind == KIND_BOOL)
			fprintf(out, " (%s)", *value ? "on" : "off");
		else if (*value < 0)
			fprintf(out, " (none)");
		else
			fprintf(out, " (%lld)", (long long) *value);
		fputc('\n', out);
	}
}

void
settings_keep(void)
{
	kept = settings;
}

void
settings_restore(void)
{
	settings = kept;
	dice = 0;
}

/* xorshift64*: good enough for dice, and the same everywhere */
int64_t
settings_random(int64_t low, int64_t high)
{
	if (dice == 0)
		dice = (uint64_t) settings.seed * 0x9e3779b97f4a7c15u | 1;
	dice ^= dice >> 12;
	dice ^= dice << 25;
	dice ^= dice >> 27;
	if (high <= low)
		return low;
	return low + (int64_t) ((dice * 0x2545f4914f6cdd1du >> 11) % (uint64_t) (high - low + 1));
}
