/*-------------------------------------------------------------------------
 * meter.h
 *		How many a minute, of late?  An average that forgets.
 *
 * Pure; plain data.  Times are microseconds of the clock that never jumps.
 *-------------------------------------------------------------------------
 */
#ifndef CO_METER_H
#define CO_METER_H

#include <stdint.h>

typedef struct CoMeter
{
	double		count;			/* what was counted, the older the less */
	int64_t		began;			/* counting began then */
	int64_t		at;				/* count as of then */
} CoMeter;

extern void co_meter_count(CoMeter *meter, int64_t now, int count);
extern double co_meter_per_minute(const CoMeter *meter, int64_t now);

#endif							/* CO_METER_H */
