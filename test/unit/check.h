/*-------------------------------------------------------------------------
 * check.h
 *		What every unit test needs: CHECK(), and the closing line.
 *
 * A test program calls CHECK(condition, format, ...) any number of times and
 * returns check_done() from main(): it prints "N passed, N failed".
 *-------------------------------------------------------------------------
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static int	check_passed = 0;
static int	check_failed = 0;

#define CHECK(condition, ...) \
	check_report((condition), __FILE__, __LINE__, #condition, __VA_ARGS__)

__attribute__((format(printf, 5, 6)))
static inline bool
check_report(bool good, const char *file, int line, const char *condition,
			 const char *format, ...)
{
	va_list		args;

	if (good)
	{
		check_passed++;
		return true;
	}
	check_failed++;
	printf("%s:%d: failed: %s: ", file, line, condition);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	return false;
}

static inline int
check_done(void)
{
	printf("%d passed, %d failed\n", check_passed, check_failed);
	return check_failed == 0 && check_passed > 0 ? 0 : 1;
}

#endif							/* CHECK_H */
