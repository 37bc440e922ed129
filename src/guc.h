/*-------------------------------------------------------------------------
 * guc.h
 *		Settings: clearout.*.  guc.c documents each where it defines it.
 *-------------------------------------------------------------------------
 */
#ifndef CO_GUC_H
#define CO_GUC_H

typedef enum CoAuthScheme
{
	CO_AUTH_BEARER,				/* Authorization: Bearer TOKEN */
	CO_AUTH_TOKEN,				/* Authorization: TOKEN */
	CO_AUTH_BEARER_COLON		/* Authorization: Bearer:TOKEN */
} CoAuthScheme;

typedef enum CoOnError
{
	CO_ON_ERROR_ERROR,
	CO_ON_ERROR_UNKNOWN
} CoOnError;

extern char *co_api_token_file;
extern int	co_auth_scheme;
extern char *co_base_url;
extern bool co_allow_http;
extern char *co_proxy;
extern char *co_ca_file;
extern char *co_databases;
extern int	co_max_parallel;
extern int	co_request_slots;
extern int	co_request_timeout; /* ms */
extern int	co_wait_timeout;	/* ms */
extern int	co_max_age;			/* s */
extern int	co_max_age_unknown; /* s */
extern int	co_max_age_catch_all;	/* s, -1 = as co_max_age */
extern int	co_max_attempts;
extern int	co_on_error;
extern int	co_verify_rpm;
extern int	co_find_rpm;
extern int	co_find_timeout;	/* ms */
extern int	co_max_age_find;	/* s */
extern int	co_max_age_lookup;	/* s */
extern char *co_public_url;
extern int	co_statement_limit;
extern int	co_daily_budget;
extern int	co_credit_floor;
extern int	co_usage_days;
extern bool co_precheck;
extern int	co_handler_timeout; /* ms */
extern int	co_handler_attempts;
extern char *co_notify_channel;
extern int	co_bulk_rows;
extern int	co_bulk_max_bytes;	/* MB */
extern int	co_bulk_threshold;	/* 0 = never */
extern int	co_bulk_retention;	/* s, -1 = for ever */

extern void co_guc_init(void);

/* Read an on_error argument; errors out on another word. */
extern CoOnError co_on_error_parse(const char *word);

#endif							/* CO_GUC_H */
