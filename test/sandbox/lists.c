/*-------------------------------------------------------------------------
 * lists.c
 *		Uploaded lists, and what becomes of them.
 *
 * A list is worked on a few milliseconds at a time, so that meanwhile other
 * requests are answered; as fast as bulk_speed allows, if it is set.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "clock.h"
#include "lists.h"
#include "result.h"
#include "settings.h"

#define SLICE_MS 5
#define SLICE_ROWS 64			/* rows between two looks at the clock */

List	   *lists;

static int64_t last_number;

static void work(void *arg);

/* --- finding --- */

List *
list_find(const char *id, ListKind kind)
{
	for (List *list = lists; list; list = list->next)
		if (!list->removed && list->kind == kind && strcmp(list->id, id) == 0)
			return list;
	return NULL;
}

const char *
list_subject(const char *id)
{
	for (List *list = lists; list; list = list->next)
		if (strcmp(list->id, id) == 0)
			return list->name;
	return id;
}

void
list_downloaded(int64_t number)
{
	for (List *list = lists; list; list = list->next)
		if (list->number == number)
			list->downloads++;
}

bool
list_duplicate(const Account *account, ListKind kind, const char *name, int64_t size)
{
	for (List *list = lists; list; list = list->next)
		if (!list->removed && list->account == account && list->kind == kind &&
			list->size == size && strcmp(list->name, name) == 0)
			return true;
	return false;
}

bool
list_over(const List *list)
{
	return list->state == LIST_COMPLETED || list->state == LIST_CANCELLED;
}

int
lists_running(const Account *account, ListKind kind)
{
	int			count = 0;

	for (List *list = lists; list; list = list->next)
		if (!list->removed && list->account == account && list->kind == kind && !list_over(list))
			count++;
	return count;
}

/* "running" and "completed" are documented, the other words are not. */
const char *
list_state(const List *list)
{
	static const char *const words[] = {
		"running", "running", "running", "completed", "cancelled"
	};

	return list->say ? list->say : words[list->state];
}

int
list_percent(const List *list)
{
	if (list->percent >= 0)
		return (int) list->percent;
	if (list_over(list))
		return 100;
	return list->rows > 0 ? (int) (list->processed * 99 / list->rows) : 0;
}

bool
list_ready(const List *list)
{
	return list_over(list) && clock_ms() >= list->ended + settings.result_delay;
}

/* --- living --- */

static void
close_file(List *list)
{
	csv_close(&list->reader);
	seen_free(&list->seen);
	if (list->file >= 0)
		close(list->file);
	list->file = -1;
}

static void
expire_timer(void *arg)
{
	list_expire(arg);
}

/* Its result is complete. */
static void
end(List *list, ListState state)
{
	spool_flush(&list->result);
	text_free(&list->result.buffer);
	close_file(list);
	list->state = state;
	list->ended = clock_ms();
	list->timer.fire = expire_timer;
	timer_set(&list->timer, list->ended + settings.retention);
}

/* One row; false if there is none left. */
static bool
step(List *list, RowFate fate)
{
	const char *record;
	size_t		len;

	if (!csv_next(&list->reader, &record, &len))
		return false;
	result_row(list, record, len, fate);
	if (fate == ROW_PROCESSED)
		list->processed++;
	return true;
}

/* How many rows may have been processed by now. */
static int64_t
allowed(const List *list, int64_t now)
{
	if (settings.bulk_speed < 0)
		return INT64_MAX;
	return (int64_t) ((double) (now - list->began) * (double) settings.bulk_speed / 1000);
}

static void
work(void *arg)
{
	List	   *list = arg;
	int64_t		start = clock_ms();
	int64_t		most;

	if (list->state == LIST_WAITING)
	{
		list->state = LIST_RUNNING;
		list->began = start;
		seen_expect(&list->seen, (size_t) list->rows);
	}
	if (list->state == LIST_CANCELLING && start < list->unlock)
	{
		timer_set(&list->timer, list->unlock);
		return;
	}
	most = list->state == LIST_CANCELLING ? INT64_MAX : allowed(list, start);
	for (int64_t n = 1;; n++)
	{
		if (list->state == LIST_RUNNING && list->processed >= most)
		{
			if (list->processed >= list->rows)
				break;
			/* the next row is due then */
			timer_set(&list->timer, settings.bulk_speed == 0 ? start + 100 :
					  list->began + (list->processed + 1) * 1000 / settings.bulk_speed + 1);
			return;
		}
		if (!step(list, list->state == LIST_RUNNING ? ROW_PROCESSED : ROW_CANCELLED))
			break;
		if (n % SLICE_ROWS == 0 && clock_ms() - start >= SLICE_MS)
		{
			timer_set(&list->timer, clock_ms() + 1);
			return;
		}
	}
	end(list, list->state == LIST_RUNNING ? LIST_COMPLETED : LIST_CANCELLED);
}

List *
list_add(Account *account, ListKind kind, Upload *upload, const int columns[LIST_COLUMNS])
{
	List	   *list = need(sizeof(*list));
	uint64_t	dice[3];

	memset(list, 0, sizeof(*list));
	if (getrandom(dice, sizeof(dice), 0) != sizeof(dice))
		abort();
	list->number = ++last_number;
	snprintf(list->id, sizeof(list->id), "%08x%016llx",
			 (unsigned) dice[0], (unsigned long long) dice[1]);
	list->secret = dice[2];
	list->kind = kind;
	list->name = need_copy(upload->file_name);
	list->account = account;
	list->created = clock_wall_ms();
	list->size = upload->file.len;
	list->rows = upload->csv.rows;
	memcpy(list->columns, columns, sizeof(list->columns));
	list->percent = -1;

	list->file = upload->file.fd;
	upload->file.fd = -1;
	csv_open(&list->reader, list->file);
	spool_open(&list->result);
	result_begin(list);

	list->timer.fire = work;
	list->timer.arg = list;
	timer_set(&list->timer, clock_ms() +
			  settings_random(settings.bulk_delay[0], settings.bulk_delay[1]));
	list->next = lists;
	lists = list;
	return list;
}

void
list_cancel(List *list)
{
	if (list_over(list))
		return;
	list->state = LIST_CANCELLING;
	list->unlock = clock_ms() + settings.cancel_delay;
	timer_set(&list->timer, list->unlock);
}

void
list_finish(List *list)
{
	if (list_over(list))
		return;
	while (step(list, list->state == LIST_CANCELLING ? ROW_CANCELLED : ROW_PROCESSED))
		;
	end(list, list->state == LIST_CANCELLING ? LIST_CANCELLED : LIST_COMPLETED);
}

void
list_say(List *list, const char *word)
{
	free(list->say);
	list->say = word ? need_copy(word) : NULL;
}

void
list_expire(List *list)
{
	list_finish(list);
	timer_cancel(&list->timer);
	spool_close(&list->result);
	list->expired = true;
}

void
list_remove(List *list)
{
	timer_cancel(&list->timer);
	close_file(list);
	spool_close(&list->result);
	list->removed = true;
}

json_t *
list_json(const List *list)
{
	static const char *const states[] = {
		"waiting", "running", "cancelling", "completed", "cancelled"
	};

	json_t	   *name = json_string(list->name);

	return json_pack("{sI ss ss so ss sI sI sI sI sI sb sb sI sI sI}",
					 "number", (json_int_t) list->number,
					 "list_id", list->id,
					 "kind", list->kind == LIST_VERIFY ? "verify" : "find",
					 "name", name ? name : json_string("(not UTF-8)"),
					 "state", states[list->state],
					 "created_ms", (json_int_t) list->created,
					 "size", (json_int_t) list->size,
					 "rows", (json_int_t) list->rows,
					 "processed", (json_int_t) list->processed,
					 "charged", (json_int_t) list->charged,
					 "expired", (int) list->expired,
					 "removed", (int) list->removed,
					 "polled", (json_int_t) list->polled,
					 "urls", (json_int_t) list->urls,
					 "downloads", (json_int_t) list->downloads);
}

void
lists_reset(void)
{
	while (lists)
	{
		List	   *next = lists->next;

		list_remove(lists);
		free(lists->name);
		free(lists->say);
		free(lists);
		lists = next;
	}
}
