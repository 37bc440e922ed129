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
