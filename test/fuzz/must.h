/*-------------------------------------------------------------------------
 * must.h
 *		What a fuzz target insists on: MUST(condition), or it ends there.
 *-------------------------------------------------------------------------
 */
#ifndef MUST_H
#define MUST_H

#include <stdio.h>
#include <stdlib.h>

#define MUST(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

#endif							/* MUST_H */
