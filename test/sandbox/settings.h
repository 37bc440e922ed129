/*-------------------------------------------------------------------------
 * settings.h
 *		What can be set, on the command line and while running alike.
 *
 * Each setting is one row of a table in settings.c: --some-name VALUE as an
 * option, "some_name": VALUE in POST /config.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_SETTINGS_H
#define SANDBOX_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

/* Orders of the words: see settings.c. */
enum
{
	WINDOW_FIRST_CALL, WINDOW_ALIGNED
};
enum
{
	ROUND_UP, ROUND_DOWN, ROUND_NEAREST
};
enum
{
	HEADERS_AT_ARRIVAL, HEADERS_AT_RESPONSE
};
enum
{
	AUTH_ANY, AUTH_BEARER, AUTH_RAW, AUTH_COLON
};
enum
{
	UNKNOWN_REFUSE, UNKNOWN_IGNORE
};
enum
{
	NOTHING_CODE, NOTHING_EMPTY
};
enum
{
	LEAD_NULL, LEAD_EMPTY, LEAD_ABSENT, LEAD_404
};
enum
{
	ORDER_DOCUMENTED, ORDER_MIXED
};
enum
{
	HEADER_DOCUMENTED, HEADER_LOWER, HEADER_UPPER, HEADER_MIXED
};
enum
{
	LINE_LF, LINE_CRLF
};
enum
{
	TIME_ISO, TIME_BLANK
};

/* All of one type, so that the table can reach them by offset. */
typedef struct Settings
{
	int64_t		limit;
	int64_t		limit_verify;
	int64_t		limit_find;
	int64_t		limit_other;
	int64_t		shared_window;
	int64_t		window_ms;
	int64_t		window_start;
	int64_t		reset_rounding;
	int64_t		headers_at;
	int64_t		rate_headers;
	int64_t		latency[2];		/* from, to */
	int64_t		credits;
	int64_t		daily_limit;
	int64_t		auth_scheme;
	int64_t		timeout_min;
	int64_t		credits_code;
	int64_t		daily_code;
	int64_t		rate_code;
	int64_t		unknown_parameters;
	int64_t		optional_endpoints;
	int64_t		remember;
	int64_t		check_price;
	int64_t		utility_price;
	int64_t		find_time[2];	/* from, to */
	int64_t		find_later;
	int64_t		find_nothing;
	int64_t		queue_life;
	int64_t		lead_nothing;
	int64_t		lead_title;
	int64_t		bulk_lists;
	int64_t		bulk_delay[2];	/* from, to */
	int64_t		bulk_speed;
	int64_t		cancel_delay;
	int64_t		result_delay;
	int64_t		result_life;
	int64_t		retention;
	int64_t		result_order;
	int64_t		result_header;
	int64_t		result_line_end;
	int64_t		result_time;
	int64_t		result_bom;
	int64_t		result_extra;
	int64_t		result_line_breaks;
	int64_t		result_bad_row;
	int64_t		seed;
} Settings;

extern Settings settings;

/* NULL if that worked, else what is wrong (static text). */
extern const char *settings_set(const char *name, const char *value);
extern const char *settings_set_json(const char *name, const json_t *value);

/*
 * A whole number from 0 on.  A string of digits will do: whether Perl writes
 * a scalar as number or string depends on what was done to it before.
 */
extern bool settings_number(const json_t *value, int64_t *number);
extern bool settings_bool(const json_t *value, bool *flag);

extern bool settings_known(const char *name);
extern json_t *settings_json(void);
extern void settings_help(FILE *out);

/* What the command line has set is what settings_restore() goes back to. */
extern void settings_keep(void);
extern void settings_restore(void);

/* Uniform from low to high; the seed makes a run repeatable. */
extern int64_t settings_random(int64_t low, int64_t high);

#endif							/* SANDBOX_SETTINGS_H */
