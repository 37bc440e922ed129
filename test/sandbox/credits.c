/*-------------------------------------------------------------------------
 * credits.c
 *		GET /email_verify/getcredits: what is left.  Costs nothing.
 *-------------------------------------------------------------------------
 */
#include "answer.h"
#include "arguments.h"
#include "clock.h"
#include "serve.h"

#define LOW_CREDIT_THRESHOLD 50

void
serve_credits(Call *call)
{
	static const char *const known[] = {NULL};
	Text	   *out = &call->answer;
	long long	credits = call->account->credits;
	int64_t		left = account_daily_left(call->account);
	char		next_day[CLOCK_TEXT_SIZE];

	arguments_begin(call);
	if (!arguments_end(call, known))
		return;
	clock_iso(account_next_day(), next_day);
	answer_begin(call);
	text_printf(out, "{\"available_credits\":%lld,\"credits\":{\"available\":%lld,"
				"\"subs\":null,\"available_daily_verify_limit\":", credits, credits);
	if (left < 0)
		text_string(out, "null");
	else
		text_printf(out, "%lld", (long long) left);
	text_printf(out, ",\"reset_daily_verify_limit_date\":\"%s\",\"total\":%lld},"
				"\"low_credit_balance_min_threshold\":%d}",
				next_day, credits, LOW_CREDIT_THRESHOLD);
	answer_end(call);
}
