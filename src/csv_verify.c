/*-------------------------------------------------------------------------
 * csv_verify.c
 *		Result files of the verifier: rows as verdicts.
 *
 * Pure.
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <string.h>

#include "csv_field.h"

static const CoCsvName names[] = {
	{"email", CO_CSV_EMAIL, true},
	{"emails", CO_CSV_EMAIL, true},
	{"emailaddress", CO_CSV_EMAIL, true},
	{"emailaddresses", CO_CSV_EMAIL, true},
	{"clearoutsafetosend", CO_CSV_SAFE_TO_SEND, false},
	{"clearoutverificationstatus", CO_CSV_STATUS, false},
	{"clearoutstatus", CO_CSV_STATUS, false},
	{"clearoutsubstatus", CO_CSV_SUB_STATUS, false},
	{"clearoutsubstatuscode", CO_CSV_SUB_STATUS, false},
	{"clearoutreason", CO_CSV_REASON, false},
	{"clearoutsuggestedemail", CO_CSV_SUGGESTED_EMAIL, false},
	{"clearoutsuggestedemailaddress", CO_CSV_SUGGESTED_EMAIL, false},
	{"clearoutbouncetype", CO_CSV_BOUNCE_TYPE, false},
	{"clearoutdisposablestatus", CO_CSV_DISPOSABLE, false},
	{"clearoutdisposable", CO_CSV_DISPOSABLE, false},
	{"clearoutfreeaccountstatus", CO_CSV_FREE, false},
	{"clearoutfreeaccount", CO_CSV_FREE, false},
	{"clearoutfree", CO_CSV_FREE, false},
	{"clearoutroleaccountstatus", CO_CSV_ROLE, false},
	{"clearoutroleaccount", CO_CSV_ROLE, false},
	{"clearoutrole", CO_CSV_ROLE, false},
	{"clearoutgibberishstatus", CO_CSV_GIBBERISH, false},
	{"clearoutgibberish", CO_CSV_GIBBERISH, false},
	{"clearoutaccount", CO_CSV_ACCOUNT, false},
	{"clearoutdomain", CO_CSV_DOMAIN, false},
	{"clearoutmxrecord", CO_CSV_MX_RECORD, false},
	{"clearoutsmtpprovider", CO_CSV_SMTP_PROVIDER, false},
	{"clearoutaiverdict", CO_CSV_AI_VERDICT, false},
	{"clearoutverifiedat", CO_CSV_VERIFIED_AT, false},
	{"clearoutverifiedatutc", CO_CSV_VERIFIED_AT, false},
	{"clearoutverifiedon", CO_CSV_VERIFIED_AT, false},
	{"clearoutverifiedonutc", CO_CSV_VERIFIED_AT, false},
	{"clearouttimetaken", CO_CSV_TIME_TAKEN, false},
	{"clearouttimetakenms", CO_CSV_TIME_TAKEN, false}
};

const char *
co_csv_map(char *const *header, int count, CoCsvMap *map)
{
	co_csv_find_columns(header, count, names, sizeof(names) / sizeof(names[0]), map);
	if (map->at[CO_CSV_STATUS] < 0)
		return "it has no column \"Clearout Verification Status\"";
	if (map->at[CO_CSV_EMAIL] < 0 &&
		(map->at[CO_CSV_ACCOUNT] < 0 || map->at[CO_CSV_DOMAIN] < 0))
		return "it has no column \"Email\"";
	return NULL;
}

CoCsvVerdict
co_csv_answer(const CoCsvMap *map, char *const *fields, int count,
			  CoCsvAnswer *answer)
{
	const size_t suffix = sizeof("_bounce") - 1;
	size_t		length;
	int64_t		number;

	/* fields that are empty at the end may have been left out */
	if (map->at[CO_CSV_STATUS] >= count)
		return CO_CSV_FEW_FIELDS;

	answer->email = co_csv_field(map, fields, count, CO_CSV_EMAIL);
	answer->account = co_csv_field(map, fields, count, CO_CSV_ACCOUNT);
	answer->domain = co_csv_field(map, fields, count, CO_CSV_DOMAIN);
	if (answer->email == NULL && (answer->account == NULL || answer->domain == NULL))
		return CO_CSV_NO_ADDRESS;

	co_csv_fold_word(co_csv_field(map, fields, count, CO_CSV_STATUS), answer->status);
	if (answer->status[0] == '\0')
		return CO_CSV_NO_STATUS;
	if (strcmp(answer->status, "catchall") == 0)
		strcpy(answer->status, "catch_all");

	answer->reason = co_csv_field(map, fields, count, CO_CSV_REASON);
	if (strcmp(answer->status, "unknown") == 0 && co_csv_is_cancelled(answer->reason))
		return CO_CSV_UNDONE;

	co_csv_fold_word(co_csv_field(map, fields, count, CO_CSV_SAFE_TO_SEND), answer->safe_to_send);
	co_csv_fold_word(co_csv_field(map, fields, count, CO_CSV_BOUNCE_TYPE), answer->bounce_type);
	length = strlen(answer->bounce_type);
	if (length > suffix && strcmp(answer->bounce_type + length - suffix, "_bounce") == 0)
		answer->bounce_type[length - suffix] = '\0';

	number = co_csv_whole(co_csv_field(map, fields, count, CO_CSV_SUB_STATUS), INT_MAX);
	answer->sub_status = (int) number;
	answer->disposable = co_csv_ternary(co_csv_field(map, fields, count, CO_CSV_DISPOSABLE));
	answer->free = co_csv_ternary(co_csv_field(map, fields, count, CO_CSV_FREE));
	answer->role = co_csv_ternary(co_csv_field(map, fields, count, CO_CSV_ROLE));
	answer->gibberish = co_csv_ternary(co_csv_field(map, fields, count, CO_CSV_GIBBERISH));
	answer->suggested_email = co_csv_field(map, fields, count, CO_CSV_SUGGESTED_EMAIL);
	answer->mx_record = co_csv_field(map, fields, count, CO_CSV_MX_RECORD);
	answer->smtp_provider = co_csv_field(map, fields, count, CO_CSV_SMTP_PROVIDER);
	answer->ai_verdict = co_csv_field(map, fields, count, CO_CSV_AI_VERDICT);
	answer->verified_on = co_csv_utc_time(co_csv_field(map, fields, count, CO_CSV_VERIFIED_AT));
	answer->time_taken = co_csv_whole(co_csv_field(map, fields, count, CO_CSV_TIME_TAKEN), INT64_MAX / 1000);
	return CO_CSV_ANSWER;
}
