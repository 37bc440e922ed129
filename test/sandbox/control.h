/*-------------------------------------------------------------------------
 * control.h
 *		The control port: where tests read counters and order faults.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_CONTROL_H
#define SANDBOX_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

extern bool control_start(int listen_fd);
extern int64_t control_turn(void);

#endif							/* SANDBOX_CONTROL_H */
