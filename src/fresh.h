/*-------------------------------------------------------------------------
 * fresh.h
 *		Is a stored answer fresh?  In SQL, as lookup.c decides it.
 *-------------------------------------------------------------------------
 */
#ifndef CO_FRESH_H
#define CO_FRESH_H

/* Of a row r, by the oldest times accepted for each kind of status. */
#define CO_FRESH(verdict, unknown, catch_all) \
	"(greatest(r.verified_at, r.asked_at) >=" \
	" CASE r.status WHEN 'unknown' THEN " unknown \
	" WHEN 'catch_all' THEN " catch_all " ELSE " verdict " END" \
	" OR (r.attempt_status IS NOT NULL AND r.attempted_at >= " unknown "))"

#endif							/* CO_FRESH_H */
