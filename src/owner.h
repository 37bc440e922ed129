/*-------------------------------------------------------------------------
 * owner.h
 *		Act as the owner of a table, whose code its indexes, constraints, and
 *		triggers may run.
 *-------------------------------------------------------------------------
 */
#ifndef CO_OWNER_H
#define CO_OWNER_H

#include "postgres.h"

#include "miscadmin.h"
#include "utils/rel.h"

typedef struct CoUser
{
	Oid			id;
	int			context;		/* security context */
} CoUser;

/* Returns who we were.  An error takes it back as well, as it does any change of user. */
static inline CoUser
co_become_owner(Relation table)
{
	CoUser		before;

	GetUserIdAndSecContext(&before.id, &before.context);
	SetUserIdAndSecContext(table->rd_rel->relowner,
						   before.context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	return before;
}

static inline void
co_become(CoUser user)
{
	SetUserIdAndSecContext(user.id, user.context);
}

#endif							/* CO_OWNER_H */
