/*-------------------------------------------------------------------------
 * bulk.c
 *		The calls around lists: upload, progress, result, cancel, remove, list.
 *
 * Those of the verifier and of the finder differ in their paths, in some
 * codes and in a few names; the route tells which is meant.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "answer.h"
#include "arguments.h"
#include "clock.h"
#include "download.h"
#include "lists.h"
#include "result.h"
#include "serve.h"
#include "settings.h"
#include "stats.h"

#define FIND_PRICE 4			/* of a row, before it is known what is found */

#define LIST_LIMIT 10
#define LIST_LIMIT_MAX 100

static ListKind
kind_of(const Call *call)
{
	return call->route->service == SERVICE_FIND ? LIST_FIND : LIST_VERIFY;
}

/* --- upload --- */

static bool
one_of(const char *value, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(*words, value) == 0)
			return true;
	return false;
}

/* The fields beside the file. */
static void
check_fields(Call *call, ListKind kind)
{
	static const char *const ways[] = {"highest_accuracy", "fastest_turnaround", NULL};
	static const char *const truths[] = {"true", "false", NULL};

	for (int i = 0; i < call->upload->nfields; i++)
	{
		const UploadField *field = &call->upload->fields[i];
		const char *value = field->value.data ? field->value.data : "";

		if (strcmp(field->name, "optimize") == 0 && kind == LIST_VERIFY)
		{
			if (!one_of(value, ways))
				answer_reason(call, field->name, NULL,
							  "must be one of [highest_accuracy, fastest_turnaround]", "any.allowOnly");
		}
		else if (strcmp(field->name, "ignore_duplicate_file") == 0)
		{
			if (!one_of(value, truths))
				answer_reason(call, field->name, NULL, "must be one of [true, false]", "any.allowOnly");
		}
		else if (strcmp(field->name, "file") != 0 &&
				 settings.unknown_parameters == UNKNOWN_REFUSE)
			answer_reason(call, field->name, NULL, "is not allowed", "object.allowUnknown");
	}
}

static bool
has_extension(const char *name, const char *extension)
{
	const char *dot = strrchr(name, '.');

	return dot && strcasecmp(dot + 1, extension) == 0;
}

/* More lists at once, or more rows, than the account has for them. */
static bool
refuse_for_account(Call *call, ListKind kind)
{
	int64_t		price = kind == LIST_FIND ? FIND_PRICE : 1;
	int64_t		needed = call->upload->csv.rows * price;
	int64_t		credits = call->account->credits;

	if (settings.bulk_lists >= 0 && lists_running(call->account, kind) >= settings.bulk_lists)
		answer_failure(call, 200, kind == LIST_FIND ? 1083 : 1001, NULL);
	else if (kind == LIST_VERIFY && !answer_affordable(call))
		;
	else if (credits < needed)
	{
		answer_failure(call, 402, 1028, NULL);
		if (kind == LIST_FIND)
			answer_add_info(call, "required_credits", needed - credits);
	}
	else
		return false;
	return true;
}

void
serve_upload(Call *call)
{
	ListKind	kind = kind_of(call);
	Upload	   *upload = call->upload;
	const char *ignore = upload_field(upload, "ignore_duplicate_file");
	int			columns[LIST_COLUMNS];
	List	   *list;

	call->status = 0;
	if (upload->file_name == NULL)
		answer_reason(call, "file", NULL, "is required", "any.required");
	else if (upload->malformed)
		answer_reason(call, "file", NULL, "cannot be read", "any.required");
	check_fields(call, kind);
	if (call->status != 0)
	{
		answer_reasons_end(call);
		return;
	}
	if (!has_extension(upload->file_name, "csv"))
	{
		/* a spreadsheet is fine with the service, but we cannot read one */
		if (kind == LIST_FIND)
			answer_failure(call, 200, 1100, NULL);
		else
		{
			answer_reason(call, "file", NULL, "must be a .csv file", "any.required");
			answer_reasons_end(call);
		}
		return;
	}
	if (!result_columns(kind, &upload->csv.header, columns) || upload->csv.rows == 0)
	{
		/* no code is documented for a finder's file without the columns */
		if (kind == LIST_VERIFY)
			answer_failure(call, 200, 1004, NULL);
		else
		{
			answer_reason(call, "file", NULL, "must have names, and domains or companies", "any.required");
			answer_reasons_end(call);
		}
		return;
	}
	if (refuse_for_account(call, kind))
		return;
	if ((ignore == NULL || strcmp(ignore, "true") != 0) &&
		list_duplicate(call->account, kind, upload->file_name, upload->file.len))
	{
		/* no code is documented for it */
		answer_failure(call, 400, 0, "Duplicate file, it was uploaded before");
		return;
	}
	list = list_add(call->account, kind, upload, columns);
	stats.lists++;
	answer_begin(call);
	text_printf(&call->answer, "{\"list_id\":\"%s\"}", list->id);
	answer_end(call);
}

/* --- one list --- */

/* The list that is meant, or NULL: then the failure is written. */
static List *
the_list(Call *call, const char *id, int code)
{
	List	   *list = list_find(id, kind_of(call));

	if (list && list->account == call->account)
		return list;
	answer_failure(call, 200, code, NULL);
	return NULL;
}

void
serve_progress(Call *call)
{
	static const char *const known[] = {"list_id", NULL};
	const char *id;
	List	   *list;

	arguments_begin(call);
	id = arguments_query(call, "list_id");
	if (!arguments_end(call, known))
		return;
	list = the_list(call, id, 1008);
	if (list == NULL)
		return;
	list->polled++;
	answer_begin(call);
	text_string(&call->answer, "{\"progress_status\":");
	text_json(&call->answer, list_state(list));
	text_printf(&call->answer, ",\"%s\":%d}",
				list->kind == LIST_FIND ? "percentage" : "percentile", list_percent(list));
	answer_end(call);
}

/* The list that the body names, for the calls that know nothing else. */
static List *
list_of_body(Call *call)
{
	static const char *const known[] = {"list_id", NULL};
	const char *id;

	arguments_begin(call);
	id = arguments_string(call, "list_id", true);
	if (!arguments_end(call, known))
		return NULL;
	return the_list(call, id, 1029);
}

void
serve_result(Call *call)
{
	List	   *list = list_of_body(call);

	if (list == NULL)
		return;
	if (list->expired)
		answer_failure(call, 200, 1007, NULL);
	else if (!list_ready(list))
		answer_failure(call, 200, 1029, NULL);
	else
	{
		Text		url = {0};

		list->urls++;
		download_url(call, list, &url);
		answer_begin(call);
		text_string(&call->answer, "{\"url\":");
		text_json(&call->answer, url.data);
		text_string(&call->answer, "}");
		answer_end(call);
		text_free(&url);
	}
}

static void
describe(Call *call, const List *list)
{
	char		created_on[CLOCK_TEXT_SIZE];

	clock_iso(list->created, created_on);
	/* a blank there, as in the official sample */
	created_on[10] = ' ';
	answer_begin(call);
	text_printf(&call->answer, "{\"list_id\":\"%s\",\"name\":", list->id);
	text_json(&call->answer, list->name);
	text_printf(&call->answer, ",\"source\":\"upload\",\"created_on\":\"%s\"}", created_on);
	answer_end(call);
}

void
serve_cancel(Call *call)
{
	List	   *list = list_of_body(call);

	if (list == NULL)
		return;
	if (list->state != LIST_RUNNING && list->state != LIST_WAITING)
	{
		answer_failure(call, 200, 1116, NULL);
		return;
	}
	list_cancel(list);
	describe(call, list);
}

/*
 * A list that still runs, or whose result nobody has fetched, is not removed;
 * the code for that is not documented.
 */
void
serve_remove(Call *call)
{
	static const char *const known[] = {"list_id", "ignore_result", NULL};
	const char *id;
	bool		ignore_result;
	List	   *list;

	arguments_begin(call);
	id = arguments_string(call, "list_id", true);
	ignore_result = arguments_bool(call, "ignore_result", false);
	if (!arguments_end(call, known))
		return;
	list = the_list(call, id, 1029);
	if (list == NULL)
		return;
	if (!list_over(list))
		answer_failure(call, 200, 1029, "List is in progress");
	else if (!ignore_result && !list->expired && list->downloads == 0)
		answer_failure(call, 200, 1029, "Result was not downloaded yet");
	else
	{
		describe(call, list);
		list_remove(list);
	}
}

/* --- all lists --- */

static const char *
filter_of(const List *list)
{
	if (list->kind == LIST_FIND)
		return list->state == LIST_WAITING ? "non_processed" :
			list->state == LIST_COMPLETED ? "processed" :
			list->state == LIST_CANCELLED ? "cancelled" : "in_progress";
	return list->state == LIST_WAITING ? "non_verified" :
		list->state == LIST_COMPLETED ? "verified" :
		list->state == LIST_CANCELLED ? "cancelled" : "in_progress";
}

/* One word of the filter, or NULL; a word that is not known is a reason. */
static const char *
filter_word(Call *call, const json_t *filter, const char *name, const char *const *words)
{
	const json_t *value = json_object_get(filter, name);
	char		full[32];

	if (value == NULL)
		return NULL;
	if (json_is_string(value) && (words == NULL || one_of(json_string_value(value), words)))
		return json_string_value(value);
	snprintf(full, sizeof(full), "filter.%s", name);
	answer_reason(call, full, "body", "must be one of the known words", "any.allowOnly");
	return NULL;
}

static void
check_filter(Call *call, const json_t *filter, ListKind kind)
{
	static const char *const verify[] = {"date_range", "verified", "type", NULL};
	static const char *const find[] = {"date_range", "processed", NULL};
	const char *name;
	json_t	   *value;

	if (settings.unknown_parameters == UNKNOWN_IGNORE)
		return;
	json_object_foreach((json_t *) filter, name, value)
		if (!one_of(name, kind == LIST_FIND ? find : verify))
			answer_reason(call, "filter", "body", "has an unknown member", "object.allowUnknown");
}

void
serve_lists(Call *call)
{
	static const char *const known[] = {"limit", "start_after", "filter", NULL};
	static const char *const ranges[] = {
		"ps_today", "ps_yesterday", "ps_last_24_hours", "ps_this_week_mon_today",
		"ps_last_7_days_including_today", "ps_last_week_mon_sun", "ps_this_month",
		"ps_last_30_days", NULL
	};
	static const char *const verified[] = {
		"non_verified", "verified", "in_progress", "cancelled", NULL
	};
	static const char *const processed[] = {
		"non_processed", "processed", "in_progress", "cancelled", NULL
	};
	ListKind	kind = kind_of(call);
	const json_t *after;
	const json_t *filter;
	const char *state;
	const char *range;
	const char *type = NULL;
	const char *cursor = NULL;
	const List *list = lists;
	int64_t		limit;
	int64_t		count = 0;

	if (!settings.optional_endpoints)
	{
		answer_status(call, 404);
		return;
	}
	arguments_begin(call);
	limit = arguments_number(call, "limit", 1, LIST_LIMIT, LIST_LIMIT_MAX);
	after = json_object_get(call->json, "start_after");
	if (after && !json_is_null(after) && !json_is_string(after))
		answer_reason(call, "start_after", "body", "must be a string", "string.base");
	filter = json_object_get(call->json, "filter");
	if (filter && !json_is_object(filter))
		answer_reason(call, "filter", "body", "must be an object", "object.base");
	range = filter_word(call, filter, "date_range", ranges);
	state = kind == LIST_FIND ? filter_word(call, filter, "processed", processed) :
		filter_word(call, filter, "verified", verified);
	if (kind == LIST_VERIFY)
		type = filter_word(call, filter, "type", NULL);
	check_filter(call, filter, kind);
	if (!arguments_end(call, known))
		return;

	/* all lists here are uploads of today */
	if ((type && strcmp(type, "upload") != 0) ||
		(range && (strcmp(range, "ps_yesterday") == 0 || strcmp(range, "ps_last_week_mon_sun") == 0)))
		list = NULL;
	if (json_is_string(after))
	{
		while (list && strcmp(list->id, json_string_value(after)) != 0)
			list = list->next;
		if (list)
			list = list->next;
	}
	answer_begin(call);
	text_string(&call->answer, "[");
	for (; list; list = list->next)
	{
		char		created_on[CLOCK_TEXT_SIZE];

		if (list->removed || list->kind != kind || list->account != call->account ||
			(state && strcmp(state, filter_of(list)) != 0))
			continue;
		if (count == limit)
			break;
		clock_iso(list->created, created_on);
		text_printf(&call->answer, "%s{\"list_id\":\"%s\",\"name\":", count ? "," : "", list->id);
		text_json(&call->answer, list->name);
		text_printf(&call->answer, ",\"created_on\":\"%s\"}", created_on);
		cursor = list->id;
		count++;
	}
	text_printf(&call->answer, "],\"page_info\":{\"limit\":%lld,\"has_more\":%s,\"last_cursor\":",
				(long long) limit, list ? "true" : "false");
	if (cursor)
		text_printf(&call->answer, "\"%s\"}", cursor);
	else
		text_string(&call->answer, "null}");
	answer_end(call);
}
