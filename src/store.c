/*-------------------------------------------------------------------------
 * store.c
 *		Write answers down.
 *
 * An answer has been paid for, so it is committed, whatever stands in the
 * way; and the worker waits for nobody, since a session that waits for the
 * worker may itself hold the row (PostgreSQL could not see that deadlock).
 *
 *		answers --group--> clearout_results
 *		   |  row locked, table locked, refused for its content
 *		   +-------------> clearout_spill --merge, later--> clearout_results
 *		   |  that fails too (disk full)
 *		   +-------------> kept in memory; the worker starts no call
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "clock.h"
#include "session.h"
#include "slots.h"
#include "store.h"
#include "store_kinds.h"
#include "usage.h"

/* What the steps below share; palloc'd in the batch's context. */
typedef struct Batch
{
	const CoWriter *writer;
	CoAnswer  **answer;
	int			count;
	int			only;			/* write this one alone; -1: all that are new */
	CoWriting	writing;
	const char *note;			/* why the one is put aside; or NULL */
} Batch;

static bool
in_batch(const Batch *batch, int i)
{
	if (batch->only >= 0)
		return i == batch->only;
	return batch->answer[i]->state == CO_ANSWER_NEW ||
		batch->answer[i]->state == CO_ANSWER_UNSTORED;
}

/* What is answered leaves the queue with the same commit. */
static void
delete_queue_rows(CoCatalog *catalog, const Batch *batch)
{
	CoQueueRow *rows;
	int			count = 0;

	for (int i = 0; i < batch->count; i++)
	{
		if (in_batch(batch, i))
			count += batch->answer[i]->row_count;
	}
	if (count == 0)
		return;
	rows = palloc(count * sizeof(CoQueueRow));
	count = 0;
	for (int i = 0; i < batch->count; i++)
	{
		const CoAnswer *answer = batch->answer[i];

		if (!in_batch(batch, i))
			continue;
		memcpy(rows + count, answer->row, answer->row_count * sizeof(CoQueueRow));
		count += answer->row_count;
	}
	co_queue_delete(catalog, rows, count);
}

/* Those that the batch stands for. */
static CoAnswer **
answers_in(const Batch *batch, int *count)
{
	CoAnswer  **answers = palloc(Max(batch->count, 1) * sizeof(CoAnswer *));

	*count = 0;
	for (int i = 0; i < batch->count; i++)
	{
		if (in_batch(batch, i))
			answers[(*count)++] = batch->answer[i];
	}
	return answers;
}

static void
store_step(CoCatalog *catalog, void *argument)
{
	Batch	   *batch = argument;
	int			count;
	CoAnswer  **answers = answers_in(batch, &count);

	batch->writer->require(catalog);
	batch->writer->write(catalog, answers, count, batch->writing);
	delete_queue_rows(catalog, batch);
	if (batch->only < 0)
		co_usage_write(catalog);
}

static void
spill_step(CoCatalog *catalog, void *argument)
{
	Batch	   *batch = argument;
	int			count;
	CoAnswer  **answers = answers_in(batch, &count);

	batch->writer->spill(catalog, answers, count, batch->note);
	delete_queue_rows(catalog, batch);
}

/* The same with as little as possible. */
static void
record_step(CoCatalog *catalog, void *argument)
{
	Batch	   *batch = argument;

	batch->writer->record(catalog, batch->answer[batch->only], batch->note);
	delete_queue_rows(catalog, batch);
}

/* Was one of them absent before its call? */
static bool
any_absent(const Batch *batch)
{
	for (int i = 0; i < batch->count; i++)
	{
		if (in_batch(batch, i) && batch->answer[i]->absent)
			return true;
	}
	return false;
}

/* Set the state of all that the batch stands for. */
static void
mark(Batch *batch, CoAnswerState state)
{
	for (int i = 0; i < batch->count; i++)
	{
		if (in_batch(batch, i))
			batch->answer[i]->state = state;
	}
}

static bool
is_verdict(const CoAnswer *answer)
{
	return co_endpoints[answer->endpoint].kind == CO_KIND_VERIFY;
}

/* By their tables, and there by their keys. */
static int
compare_keys(const void *a, const void *b)
{
	const CoAnswer *first = *(CoAnswer *const *) a;
	const CoAnswer *second = *(CoAnswer *const *) b;

	if (is_verdict(first) != is_verdict(second))
		return is_verdict(first) ? -1 : 1;
	if (first->endpoint != second->endpoint)
		return strcmp(co_endpoints[first->endpoint].name, co_endpoints[second->endpoint].name);
	return strcmp(first->key, second->key);
}

/* Write those of one kind down. */
static bool
store_kind(const CoWriter *writer, CoAnswer **answers, int count, bool *spilled,
		   char *reason, size_t reason_size)
{
	Batch		batch = {writer, answers, count, -1, CO_WRITING_TRUSTING, NULL};
	CoTrouble	trouble;
	char		note[CO_REASON_SIZE];
	int64		budget_end;
	bool		stored;

	/* The usual way: all of them at once. */
	stored = co_run(store_step, &batch, &trouble);
	if (!stored && trouble.sqlstate == ERRCODE_UNIQUE_VIOLATION && any_absent(&batch))
	{
		batch.writing = CO_WRITING_LOOKING;
		stored = co_run(store_step, &batch, &trouble);
	}
	if (stored)
	{
		co_usage_written();
		mark(&batch, CO_ANSWER_STORED);
		return true;
	}
	co_usage_write_apart();
	elog(DEBUG1, "clearout: %d answers not stored at once: %s", count, trouble.message);

	/* One by one, so that one that is held up leaves its neighbours alone. */
	if (trouble.sqlstate != ERRCODE_OBJECT_IN_USE)
	{
		budget_end = co_clock() + CO_ROW_LOCK_BUDGET;
		co_session_set_lock_timeout(CO_ROW_LOCK_TIMEOUT);
		batch.writing = CO_WRITING_ALONE;
		for (batch.only = 0; batch.only < count; batch.only++)
		{
			if (answers[batch.only]->state == CO_ANSWER_STORED)
				continue;
			if (co_clock() > budget_end)
				break;
			if (co_run(store_step, &batch, &trouble))
				answers[batch.only]->state = CO_ANSWER_STORED;
			else if (!co_is_lock_trouble(&trouble))
			{
				/* Refused for itself: keep it with the reason. */
				strlcpy(note, trouble.message, sizeof(note));
				batch.note = note;
				if (co_run(spill_step, &batch, &trouble) ||
					(co_is_content_trouble(&trouble) && co_run(record_step, &batch, &trouble)))
				{
					answers[batch.only]->state = CO_ANSWER_SPILLED;
					*spilled = true;
				}
				batch.note = NULL;
			}
		}
		batch.only = -1;
		co_session_set_lock_timeout(CO_LOCK_TIMEOUT);
	}

	/* What is held up goes aside. */
	for (int i = 0; i < count; i++)
	{
		if (!in_batch(&batch, i))
			continue;
		if (co_run(spill_step, &batch, &trouble))
		{
			mark(&batch, CO_ANSWER_SPILLED);
			*spilled = true;
			return true;
		}
		mark(&batch, CO_ANSWER_UNSTORED);
		strlcpy(reason, trouble.message, reason_size);
		return false;
	}
	return true;
}

bool
co_store_answers(CoAnswer **answers, int count, bool *spilled,
				 char *reason, size_t reason_size)
{
	int			verdicts = 0;
	bool		all = true;

	/* Everybody who writes several keys does so in their order. */
	qsort(answers, count, sizeof(CoAnswer *), compare_keys);
	while (verdicts < count && is_verdict(answers[verdicts]))
		verdicts++;

	if (verdicts > 0)
		all = store_kind(&co_results_writer, answers, verdicts, spilled, reason, reason_size);
	if (verdicts < count)
		all &= store_kind(&co_lookups_writer, answers + verdicts, count - verdicts, spilled,
						  reason, reason_size);
	return all;
}

void
co_store_merge_spill(int *moved, bool *left, bool *refused)
{
	CoSpill    *const spills[] = {&co_results_spill, &co_lookups_spill};

	*moved = 0;
	*left = false;
	*refused = true;
	for (int i = 0; i < lengthof(spills); i++)
	{
		int			one_moved;
		bool		one_left;
		bool		one_refused;

		co_spill_merge(spills[i], &one_moved, &one_left, &one_refused);
		*moved += one_moved;
		*left |= one_left;
		*refused &= !one_left || one_refused;
	}
	*refused &= *left;
}
