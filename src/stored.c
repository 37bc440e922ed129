/*-------------------------------------------------------------------------
 * stored.c
 *		Look up what is stored of the finder's answers and of look-ups.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "keyscan.h"
#include "slots.h"
#include "stored.h"

typedef struct Search
{
	CoStored   *stored;
	TimestampTz since;
	bool		found;
} Search;

static TimestampTz
time_of(const Datum *values, const bool *nulls, int column)
{
	return nulls[column] ? DT_NOBEGIN : DatumGetTimestampTz(values[column]);
}

/* Is this one fresh, and fresher than what was found so far? */
static bool
is_better(Search *search, TimestampTz told, TimestampTz asked)
{
	TimestampTz age = Max(told, asked);

	if (age < search->since || (search->found && age <= search->stored->age))
		return false;
	search->stored->age = age;
	search->found = true;
	return true;
}

static void
visit_person(const Datum *values, const bool *nulls, void *argument)
{
	Search	   *search = argument;

	if (!is_better(search, time_of(values, nulls, CO_PERSON_FOUND_AT),
				   time_of(values, nulls, CO_PERSON_ASKED_AT)))
		return;
	memcpy(search->stored->person, values, sizeof(search->stored->person));
	memcpy(search->stored->person_null, nulls, sizeof(search->stored->person_null));
}

static void
visit_lookup(const Datum *values, const bool *nulls, void *argument)
{
	Search	   *search = argument;

	if (!is_better(search, time_of(values, nulls, CO_LOOKUP_ANSWERED_AT),
				   time_of(values, nulls, CO_LOOKUP_ASKED_AT)))
		return;
	memcpy(search->stored->lookup, values, sizeof(search->stored->lookup));
	memcpy(search->stored->lookup_null, nulls, sizeof(search->stored->lookup_null));
}

static const CoShape people_shape = {CO_PERSON_COLUMNS, co_person_types, 2};
static const CoShape lookups_shape = {CO_LOOKUP_COLUMNS, co_lookup_types, 2};

bool
co_stored_find(const CoCatalog *catalog, CoEndpointId endpoint, const char *key,
			   TimestampTz since, CoStored *stored, bool *locked)
{
	bool		person = co_endpoints[endpoint].kind == CO_KIND_PERSON;
	const char *lookup_key[2] = {person ? CO_FIND_KIND : co_endpoints[endpoint].name, key};
	Search		search = {stored, since, false};
	bool		any_locked = false;

	if (person)
	{
		char	   *name = pstrdup(key);
		char	   *separator = strchr(name, CO_FIND_SEPARATOR);
		const char *person_key[2];

		if (separator == NULL)
			elog(ERROR, "a finder's key has no domain");
		*separator = '\0';
		person_key[0] = name;
		person_key[1] = separator + 1;
		co_key_scan(co_catalog_need(catalog, &catalog->people), &people_shape, person_key, visit_person,
					&search, &any_locked);
	}
	else
		co_key_scan(co_catalog_need(catalog, &catalog->lookups), &lookups_shape, lookup_key, visit_lookup,
					&search, &any_locked);

	if (!search.found)
	{
		co_key_scan(co_catalog_need(catalog, &catalog->lookup_spill), &lookups_shape, lookup_key, visit_lookup,
					&search, &any_locked);
		if (search.found && person)
			co_person_fill(stored->lookup, stored->lookup_null, NULL, false,
						   stored->person, stored->person_null);
	}
	if (locked)
		*locked = any_locked;
	return search.found;
}
