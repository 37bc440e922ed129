/*-------------------------------------------------------------------------
 * queuekey.c
 *		The index of clearout_queue by which its rows are taken and found.
 *
 * Whatever the table's owner may have put into an index (a predicate, an
 * operator class) is not run: only a plain one will do.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "nodes/pg_list.h"
#include "storage/lmgr.h"
#include "utils/rel.h"

#include "queuekey.h"

/* One that was built over rows with broken chains of versions (indcheckxmin)
 * may not show all of them to us. */
static bool
is_key_index(Relation index, AttrNumber priority, AttrNumber id)
{
	return index->rd_rel->relam == BTREE_AM_OID &&
		index->rd_index->indisvalid && index->rd_index->indisunique &&
		!index->rd_index->indcheckxmin &&
		index->rd_index->indnkeyatts == 2 &&
		index->rd_index->indkey.values[0] == priority &&
		index->rd_index->indkey.values[1] == id &&
		index->rd_opfamily[0] == INTEGER_BTREE_FAM_OID &&
		index->rd_opfamily[1] == INTEGER_BTREE_FAM_OID &&
		index->rd_opcintype[0] == INT4OID && index->rd_opcintype[1] == INT8OID &&
		index->rd_indoption[0] == 0 && index->rd_indoption[1] == 0 &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
}

Relation
co_queue_key_index(Relation queue, AttrNumber priority, AttrNumber id, bool *locked)
{
	List	   *indexes = RelationGetIndexList(queue);
	Relation	found = NULL;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index;

		if (!ConditionalLockRelationOid(lfirst_oid(cell), AccessShareLock))
		{
			*locked = true;
			continue;
		}
		index = index_open(lfirst_oid(cell), NoLock);
		if (is_key_index(index, priority, id))
		{
			found = index;
			break;
		}
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}
